-- Pairs of inside hosts of which one makes the other run something, in [from, to):
-- an executable written to an administrative share, the service control manager
-- opened over SMB, a known tool's service, many equal RPC logins, or a large
-- request to a port that the endpoint mapper names. src, dst and site narrow it
-- to one pair; an empty src means all.
SELECT site, /*src_text*/ AS src, /*dst_text*/ AS dst,
    countIf(written) AS files,
    countIf(controlled) AS service_flows,
    countIf(tooled) AS tool_flows,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(quotes)))), 1, 8) AS quote_sample,
    countIf(mapped) AS mapper_flows,
    arrayMax(arrayMap(x -> x.2, arrayConcat([(toUInt16(0), toUInt64(0))], arrayMap(p -> (p, toUInt64(arrayCount(y -> y.1 = p AND y.2 BETWEEN 0.65 * rpc_median AND 1.35 * rpc_median, rpc_flows))), arrayDistinct(arrayMap(y -> y.1, rpc_flows)))))) AS rpc_logins,
    arraySort(groupArraySortedIf(4096)((dst_port, total), rpc_short)) AS rpc_flows,
    if(empty(rpc_flows), 0, arraySort(arrayMap(y -> y.2, rpc_flows))[intDiv(length(rpc_flows) + 1, 2)]) AS rpc_median,
    countIf(pushed) AS push_flows, maxIf(src_payload_bytes, pushed) AS push_bytes,
    minIf(start, concerned) AS first, maxIf(end, concerned) AS last,
    arraySlice(arraySort(groupArraySortedIf(5)(id, concerned)), 1, 5) AS flow_ids,
    if(files > 0, 0.4, 0) + if(service_flows > 0, 0.3, 0) + if(tool_flows > 0, 0.3, 0) AS service_execution,
    if(mapper_flows >= {min_logins:UInt32} AND rpc_logins >= {min_logins:UInt32}, least(1, 0.6 + 0.3 * log10(rpc_logins / {min_logins:UInt32})), 0) AS login_burst,
    if(mapper_flows > 0 AND push_flows > 0, 0.3, 0) AS push
FROM
(
    SELECT site, src_ip, dst_ip, dst_port, start, end, src_payload_bytes,
        src_payload_bytes + dst_payload_bytes AS total,
        app = 'smb' AND arrayExists(q -> match(q, '^TREE_CONNECT .*\\\\(ADMIN|[A-Za-z])\\$$'), app_requests) AND arrayExists(q -> match(q, '(?i)^CREATE .*\\.(exe|dll|bat|cmd|ps1|vbs|sys|scr)$'), app_requests) AS written,
        app = 'smb' AND arrayExists((q, r) -> q = 'CREATE svcctl' AND r = 'STATUS_SUCCESS', arrayResize(app_requests, least(length(app_requests), length(app_responses))),
            arrayResize(app_responses, least(length(app_requests), length(app_responses)))) AS controlled,
        app = 'smb' AND arrayExists(q -> match(q, '(?i)^CREATE .*(psexesvc|remcomsvc|paexec|winexesvc|csexecsvc)'), app_requests) AS tooled,
        arrayFilter(q -> match(q, '(?i)^CREATE (svcctl$|.*\\.(exe|dll|bat|cmd|ps1|vbs|sys|scr)$|.*(psexesvc|remcomsvc|paexec|winexesvc|csexecsvc))'), if(app = 'smb', app_requests, [])) AS quotes,
        protocol = 6 AND dst_port = 135 AND dst_payload_bytes > 0 AS mapped,
        protocol = 6 AND dst_port >= 1024 AND app IN ('', 'unknown', 'dcerpc') AND dst_payload_bytes > 0 AS rpc,
        rpc AND total < 2000 AND end - start < 30 AND end_reason != 'active' AS rpc_short,
        rpc AND src_payload_bytes >= 4000 AND src_payload_bytes >= 3 * dst_payload_bytes AND transactions >= 3 AND total < 1000000 AS pushed,
        written OR controlled OR tooled OR mapped OR rpc_short OR pushed AS concerned,
        /*flow_id*/ AS id
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0
      AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_ip = toIPv6OrDefault({dst:String}) AND site = {site:String})
      AND protocol = 6 AND (app = 'smb' OR dst_port = 135 OR app IN ('', 'unknown', 'dcerpc') AND dst_port >= 1024 AND dst_payload_bytes > 0)
      AND src_role NOT IN ('scanner', 'monitor', 'backup', 'jump')
)
WHERE /*src_inside*/ AND /*dst_inside*/ AND NOT /*exempt*/
GROUP BY site, src_ip, dst_ip
HAVING service_execution + login_burst + push > 0
ORDER BY service_execution + login_burst + push DESC, src, dst, site
LIMIT 10000

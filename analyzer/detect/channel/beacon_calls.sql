-- The beginning of beacon.sql and beacon_pairs.sql: pairs of a client and what it
-- calls, with the times (ms) and sizes of their calls. Raw is read for the running
-- hour and the one before (every 6 hours for the last 6), and where the rollup of an
-- hour is not closed; what is older comes from beacons_1h. src, target, port and site
-- narrow it to one pair.
WITH
    multiIf({to:UInt32} % 21600 = 0, 604800, {to:UInt32} % 3600 = 0, 86400, 7200) AS reach,
    toDateTime({to:UInt32}, 'UTC') AS until,
    toDateTime(if({to:UInt32} % 21600 = 0, {to:UInt32} - 21600, intDiv({from:UInt32}, 3600) * 3600 - 3600), 'UTC') AS recent,
    toDateTime({to:UInt32} - reach, 'UTC') AS since,
    toDateTime({to:UInt32} - least(reach, 86400), 'UTC') AS raw_since,
    toDateTime(multiIf({to:UInt32} % 21600 = 0, {to:UInt32} - 21600, {to:UInt32} % 3600 = 0, {to:UInt32} - 3600, {from:UInt32}), 'UTC') AS active_since,
    built AS (SELECT bucket FROM rollup_builds WHERE rollup = 'beacons_1h' AND bucket >= since AND bucket < recent GROUP BY bucket HAVING argMax(cover, (build, cover)) != 0),
    -- explicit proxies of inside clients: whom they were asked for is the target, not
    -- they. From outside, some ask any server to be one.
    proxies AS
    (
        SELECT DISTINCT site, dst_ip, dst_port FROM flows
        WHERE start >= recent AND start < until AND /*src_inside*/ AND http_status NOT IN (400, 404, 405, 501)
          AND (http_method = 'CONNECT' OR startsWith(http_uri, 'http://') OR dst_role = 'proxy' AND http_host != '')
    ),
    -- outside sources that tried many things without an answer: their calls are a scan
    scanners AS
    (
        SELECT site, src_ip FROM flows
        WHERE start >= recent AND start < until AND protocol IN (6, 17, 132) AND NOT /*src_inside*/ AND /*failed*/
        GROUP BY site, src_ip HAVING uniqExact(dst_ip, dst_port) >= 10
    ),
    active AS
    (
        SELECT DISTINCT site, src_ip, dst_port FROM flows
        WHERE start >= active_since AND start < until AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
          AND protocol IN (6, 17, 132) AND dst_port NOT IN (53, 67, 68, 123, 853, 5353) AND /*unicast*/ AND NOT /*exempt*/
    ),
    seen AS
    (
        SELECT site, src_ip, dst_ip, dst_port, protocol, name, ja4, last, ids, calls FROM
        (
            SELECT site, probe, src_ip, dst_ip, dst_port, protocol, name, ja4, toStartOfHour(start) AS hour, count() AS n,
                max(end) AS last, groupArraySorted(5)(id) AS ids, groupArraySorted(7200)((at, size)) AS calls
            FROM
            (
                SELECT site, probe, src_ip, dst_ip, dst_port, protocol, ja4, start, end, lower(if(tls_sni != '', tls_sni, replaceRegexpOne(http_host, ':[0-9]*$', ''))) AS name,
                    toInt64(toUnixTimestamp64Milli(start)) AS at, toInt64(least(src_bytes, 4294967295)) AS size, /*flow_id*/ AS id
                FROM flows
                WHERE start >= raw_since AND start < until AND (start >= recent OR toStartOfHour(start) NOT IN built)
                  AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
                  AND protocol IN (6, 17, 132) AND dst_port NOT IN (53, 67, 68, 123, 853, 5353) AND (site, src_ip, dst_port) IN active
            )
            GROUP BY site, hour, probe, src_ip, dst_ip, dst_port, protocol, name, ja4
            ORDER BY n DESC, probe
            LIMIT 1 BY site, hour, src_ip, dst_ip, dst_port, protocol, name, ja4
        )
        UNION ALL
        SELECT site, src_ip, dst_ip, dst_port, protocol, name, toString(ja4), last, [] AS ids, arrayMap((t, s) -> (toInt64(t) * 1000, toInt64(s)), times, sizes) AS calls
        FROM beacons_1h
        WHERE hour >= since AND hour < recent AND hour IN built AND primary_observer AND (hour >= raw_since OR connections <= 6)
          AND (site, src_ip, dst_port) IN active
    ),
    aimed AS
    (
        SELECT site, src_ip, dst_ip, dst_port, protocol, name != '' AND src_net > 0 AS named, last, ids, calls,
            if(name != '' AND src_net > 0, name, /*dst_text*/) AS target, arrayJoin(if(ja4 = '', [''], ['', ja4])) AS variant,
            multiIf((site, dst_ip, dst_port) IN proxies, if(name != '' AND src_net > 0, 'out', ''), src_net > 0 AND dst_net = 0, 'out',
                    src_net = 0 AND dst_net > 0, 'in', src_net != dst_net, 'across', '') AS way
        FROM
        (
            SELECT site, src_ip, dst_ip, dst_port, protocol, name, toString(ja4) AS ja4, last, ids, calls,
                max(name != '') OVER (PARTITION BY site, src_ip, dst_ip, dst_port) AS has_name,
                arrayFirstIndex((a, b) -> src_ip >= a AND src_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)}) AS src_net,
                arrayFirstIndex((a, b) -> dst_ip >= a AND dst_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)}) AS dst_net
            FROM seen
        )
        WHERE (name != '' OR NOT has_name) AND NOT (src_net = 0 AND (dst_port IN {logins:Array(UInt16)} OR (site, src_ip) IN scanners))
    ),
    pairs AS
    (
        SELECT site, src_ip, target, dst_port, protocol, variant, named, way, last_dst, addresses, flow_ids, all_calls, clients
        FROM
        (
            SELECT site, src_ip, target, dst_port, protocol, variant, named, way,
                argMax(dst_ip, (last, dst_ip)) AS last_dst, uniqExact(dst_ip) AS addresses,
                arraySlice(arraySort(arrayDistinct(groupArrayArray(ids))), 1, 5) AS flow_ids, arraySort(groupArrayArray(calls)) AS all_calls,
                uniqExact(src_ip) OVER (PARTITION BY site, target) AS clients
            FROM aimed
            WHERE way != '' AND ({target:String} = '' OR target = {target:String})
            GROUP BY site, src_ip, target, dst_port, protocol, variant, named, way
        )
        WHERE length(all_calls) >= 7 AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_port = {port:UInt16} AND site = {site:String})
    )

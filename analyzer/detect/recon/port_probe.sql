-- A few ports of a host tried without saying a word, fewer than a scan has, each
-- no more than three times; begun in the first half of [from, to), and not in the
-- ten minutes before. By source if it is inside, by the host if the source is
-- outside: subject. subject, inside and site narrow it to one; an empty subject
-- means all.
SELECT site, inside, subject,
    count() AS pairs,
    max(probed_ports) AS most_ports,
    argMax(src_text, (probed_ports, src_text)) AS src_most,
    argMax(dst_text, (probed_ports, dst_text)) AS dst_most,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(port_list)))), 1, 16) AS port_sample,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(open_list)))), 1, 16) AS open_ports,
    arrayMap(x -> concat(x.2, ' (', toString(-x.1), ' ports)'), arraySlice(arraySort(groupArray((-toInt64(probed_ports), if(inside, dst_text, src_text)))), 1, 8)) AS others,
    sum(attempts) AS all_attempts,
    min(first) AS first_at, max(last) AS last_at,
    arraySlice(arraySort(arrayFlatten(groupArray(ids))), 1, 5) AS flow_ids,
    most_ports / {scan_ports:UInt32} AS breadth,
    max(probed_ports / tried_ports) AS purpose
FROM
(
    SELECT *, max(probed_ports) OVER (PARTITION BY site, src_text) AS most_of_source
    FROM
    (
        SELECT site, /*src_inside*/ AS inside, /*src_text*/ AS src_text, /*dst_text*/ AS dst_text,
            if(inside, src_text, dst_text) AS subject,
            uniqExactIf(dst_port, probed) AS probed_ports, uniqExact(dst_port) AS tried_ports,
            arraySort(groupUniqArrayIf(65536)(dst_port, probed)) AS port_list,
            arraySort(groupUniqArrayIf(65536)(dst_port, probed AND open)) AS open_list,
            countIf(probed) AS attempts,
            minIf(start, probed) AS first, maxIf(end, probed) AS last,
            groupArraySortedIf(5)(id, probed) AS ids
        FROM
        (
            SELECT site, src_ip, dst_ip, dst_port, start, end, /*failed*/ AS failed, /*open*/ AS open,
                failed OR open AND src_payload_bytes = 0 AND (conn_state IN ('RSTO', 'RSTR', 'SF', 'S1', 'SH') OR conn_state = 'OTH' AND bitAnd(src_tcp_flags, 18) = 2) AS probed,
                /*flow_id*/ AS id
            FROM flows
            WHERE start >= {from:DateTime('UTC')} - INTERVAL 10 MINUTE AND start < {to:DateTime('UTC')}
              AND ({subject:String} = '' OR site = {site:String} AND (src_ip = toIPv6OrDefault({subject:String}) OR dst_ip = toIPv6OrDefault({subject:String})))
              AND protocol = 6 AND (failed OR open) AND /*unicast*/ AND app != 'bittorrent' AND src_role NOT IN ('scanner', 'monitor')
        )
        WHERE NOT /*exempt*/
        GROUP BY site, src_ip, dst_ip
        HAVING probed_ports >= {min_ports:UInt32}
    )
)
WHERE most_of_source < {scan_ports:UInt32} AND probed_ports / tried_ports >= {min_share:Float64} AND attempts <= 3 * probed_ports
  AND first >= {from:DateTime('UTC')} AND first < {from:DateTime('UTC')} + INTERVAL 5 MINUTE
  AND ({subject:String} = '' OR subject = {subject:String} AND inside = {inside:UInt8})
GROUP BY site, inside, subject
ORDER BY most_ports DESC, subject, inside, site
LIMIT 10000

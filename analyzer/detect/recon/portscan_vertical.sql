-- Sources that tried many ports of one host, or of several, without an answer, in
-- [from, to). src and site narrow it to one source; an empty src means all.
SELECT site, /*src_text*/ AS src, /*src_inside*/ AS inside,
    count() AS hosts,
    max(failed_ports) AS most_ports,
    sum(failed_ports) AS targets,
    sum(ports) AS tried,
    replaceRegexpOne(toString(argMax(dst_ip, (failed_ports, dst_ip))), '^::ffff:', '') AS victim,
    replaceRegexpOne(toString(min(dst_ip)), '^::ffff:', '') AS lowest,
    replaceRegexpOne(toString(max(dst_ip)), '^::ffff:', '') AS highest,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(open_ports)))), 1, 16) AS open_ports,
    countIf(talked) AS talked_hosts,
    sum(attempts) AS attempts,
    min(first) AS first, max(last) AS last,
    arraySlice(arraySort(arrayFlatten(groupArray(ids))), 1, 5) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(targets / {min_ports:UInt32})) AS breadth,
    targets / tried AS failure
FROM
(
    SELECT site, src_ip, dst_ip,
        uniqExactIf((protocol, dst_port), failed) AS failed_ports,
        uniqExact((protocol, dst_port)) AS ports,
        arraySort(groupUniqArrayIf(65536)(dst_port, open)) AS open_ports,
        maxIf(start, src_payload_bytes > 0 AND dst_payload_bytes > 0) > minIf(start, failed) AS talked,
        countIf(failed) AS attempts,
        minIf(start, failed) AS first, maxIf(end, failed) AS last,
        groupArraySortedIf(5)(id, failed) AS ids
    FROM
    (
        SELECT site, src_ip, dst_ip, protocol, dst_port, start, end, src_payload_bytes, dst_payload_bytes, /*failed*/ AS failed, /*open*/ AS open, /*flow_id*/ AS id
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND site = {site:String})
          AND protocol IN (6, 17, 132) AND (failed OR open) AND /*unicast*/ AND /*purposeful*/ AND src_role NOT IN ('scanner', 'monitor')
    )
    WHERE NOT /*exempt*/
    GROUP BY site, src_ip, dst_ip
    HAVING failed_ports >= {min_ports:UInt32} AND failed_ports / ports >= {min_share:Float64}
)
GROUP BY site, src_ip
HAVING inside OR most_ports >= {extreme:UInt32} OR talked_hosts > 0
ORDER BY targets DESC, src, site
LIMIT 10000

-- Sources that tried a port, or several, of many hosts without an answer, in
-- [from, to). src and site narrow it to one source; an empty src means all. High
-- ports that a peer of a file sharing network asks of others are left out: its
-- peers are many, one or two ports of each, the ports differ, and some answer. So
-- are ports on which the source had been reached by another sweeper of the port:
-- worm.sql speaks of those.
SELECT site, /*src_text*/ AS src, any(from_inside) AS inside,
    count() AS swept_ports,
    arrayMap(x -> concat(toString(x.3), transform(x.2, [6, 17, 132], ['/tcp', '/udp', '/sctp'], ''), ' (', toString(-x.1), ' hosts)'),
        arraySlice(arraySort(groupArray((-toInt64(failed_hosts_here), protocol, dst_port))), 1, 8)) AS port_sample,
    uniqExactMerge(failed_peers) AS failed_hosts,
    uniqExactMerge(peers) AS hosts,
    uniqExactMerge(open_peers) AS open_hosts,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(open_sample_here)))), 1, 8) AS open_sample,
    countIf(talked) AS talked_ports,
    replaceRegexpOne(toString(min(lowest_here)), '^::ffff:', '') AS lowest,
    replaceRegexpOne(toString(max(highest_here)), '^::ffff:', '') AS highest,
    sum(attempts_here) AS attempts,
    min(first_here) AS first, max(last_here) AS last,
    arraySlice(arraySort(arrayFlatten(groupArray(ids))), 1, 5) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(failed_hosts / if(inside, {min_hosts:UInt32}, {min_hosts_outside:UInt32}))) AS breadth,
    failed_hosts / hosts AS failure,
    countIf(failed_hosts_here >= {min_hosts:UInt32} AND failed_hosts_here / hosts_here >= {min_share:Float64}) AS sure_ports
FROM
(
    SELECT *,
        uniqExactMergeIf(peers, high) OVER of_source AS high_hosts,
        sumIf(hosts_here, high) OVER of_source AS high_targets,
        countIf(high) OVER of_source AS high_ports,
        sumIf(open_here, high) OVER of_source AS high_answers
    FROM
    (
        SELECT site, src_ip, protocol, dst_port,
            dst_port >= 1024 AS high,
            /*src_inside*/ AS from_inside,
            uniqExactState(dst_ip) AS peers, uniqExactStateIf(dst_ip, failed) AS failed_peers, uniqExactStateIf(dst_ip, open) AS open_peers,
            uniqExact(dst_ip) AS hosts_here, uniqExactIf(dst_ip, failed) AS failed_hosts_here, uniqExactIf(dst_ip, open) AS open_here,
            arrayMap(x -> replaceRegexpOne(toString(x), '^::ffff:', ''), arraySlice(arraySort(groupUniqArrayIf(65536)(dst_ip, open)), 1, 8)) AS open_sample_here,
            countIf(src_payload_bytes > 0 AND dst_payload_bytes > 0) > 0 AND maxIf(start, src_payload_bytes > 0 AND dst_payload_bytes > 0) > minIf(start, failed) AS talked,
            minIf(dst_ip, failed) AS lowest_here, maxIf(dst_ip, failed) AS highest_here,
            countIf(failed) AS attempts_here,
            minIf(start, failed) AS first_here, maxIf(end, failed) AS last_here,
            groupArraySortedIf(5)(id, failed) AS ids
        FROM
        (
            SELECT site, src_ip, dst_ip, protocol, dst_port, start, end, src_payload_bytes, dst_payload_bytes, /*failed*/ AS failed, /*open*/ AS open, /*flow_id*/ AS id
            FROM flows
            WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
              AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND site = {site:String})
              AND protocol IN (6, 17, 132) AND (failed OR open) AND /*unicast*/ AND /*purposeful*/ AND src_role NOT IN ('scanner', 'monitor')
              AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
        )
        WHERE NOT /*exempt*/
        GROUP BY site, src_ip, protocol, dst_port
    )
    WINDOW of_source AS (PARTITION BY site, src_ip)
) AS s
LEFT JOIN
(
    SELECT site, dst_ip, protocol, dst_port, toUnixTimestamp64Nano(min(start)) AS contact
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 HOUR AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND /*open*/ AND /*dst_inside*/
      AND (site, src_ip, protocol, dst_port) IN
      (
          SELECT site, src_ip, protocol, dst_port
          FROM flows
          WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 HOUR AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND (/*failed*/ OR /*open*/) AND /*unicast*/
          GROUP BY site, src_ip, protocol, dst_port
          HAVING uniqExactIf(dst_ip, /*failed*/) >= {min_hosts:UInt32} AND uniqExactIf(dst_ip, /*failed*/) / uniqExact(dst_ip) >= {min_share:Float64}
      )
    GROUP BY site, dst_ip, protocol, dst_port
) AS reached ON s.site = reached.site AND s.src_ip = reached.dst_ip AND s.protocol = reached.protocol AND s.dst_port = reached.dst_port
WHERE (reached.contact = 0 OR reached.contact > toUnixTimestamp64Nano(first_here)) AND (failed_hosts_here >= if(from_inside, {min_hosts:UInt32}, {min_hosts_outside:UInt32}) AND failed_hosts_here / hosts_here >= {min_share:Float64}
    OR from_inside AND failed_hosts_here >= {min_hosts_low:UInt32} AND failed_hosts_here / hosts_here >= {min_share_low:Float64})
  AND (from_inside OR failed_hosts_here >= {extreme:UInt32} AND talked)
  AND NOT (high AND high_hosts >= 15 AND high_targets <= 2 * high_hosts AND high_ports >= 0.3 * high_hosts AND high_answers > 0)
GROUP BY site, src_ip
ORDER BY failed_hosts DESC, src, site
LIMIT 10000

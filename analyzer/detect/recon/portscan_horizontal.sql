-- Sources that tried one port of many hosts without an answer, in [from, to).
-- src, protocol, port and site narrow it to one sweep; an empty src means all.
SELECT site, /*src_text*/ AS src, protocol, dst_port AS port,
    /*src_inside*/ AS inside,
    uniqExactIf(dst_ip, failed) AS failed_hosts,
    uniqExact(dst_ip) AS hosts,
    uniqExactIf(dst_ip, open) AS open_hosts,
    arrayMap(x -> replaceRegexpOne(toString(x), '^::ffff:', ''), arraySort(groupUniqArrayIf(8)(dst_ip, open))) AS open_sample,
    replaceRegexpOne(toString(minIf(dst_ip, failed)), '^::ffff:', '') AS lowest,
    replaceRegexpOne(toString(maxIf(dst_ip, failed)), '^::ffff:', '') AS highest,
    countIf(failed) AS attempts,
    minIf(start, failed) AS first, maxIf(end, failed) AS last,
    groupArraySortedIf(5)(id, failed) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(failed_hosts / if(inside, {min_hosts:UInt32}, {min_hosts_outside:UInt32}))) AS breadth,
    failed_hosts / hosts AS failure
FROM
(
    SELECT site, src_ip, dst_ip, protocol, dst_port, start, end, /*failed*/ AS failed, /*open*/ AS open, /*flow_id*/ AS id
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
      AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND protocol = {protocol:UInt8} AND dst_port = {port:UInt16} AND site = {site:String})
      AND protocol IN (6, 17, 132) AND (failed OR open) AND /*unicast*/ AND /*purposeful*/
      AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
)
WHERE NOT /*exempt*/
GROUP BY site, src_ip, protocol, dst_port
HAVING failed_hosts >= if(inside, {min_hosts:UInt32}, {min_hosts_outside:UInt32}) AND failure >= {min_share:Float64}
ORDER BY failed_hosts DESC, src, protocol, port, site
LIMIT 10000

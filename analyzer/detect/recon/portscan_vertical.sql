-- Sources that tried many ports of one host without an answer, in [from, to).
-- src, dst and site narrow it to one pair; empty means all.
SELECT site, /*src_text*/ AS src, /*dst_text*/ AS dst,
    /*src_inside*/ AS inside,
    uniqExactIf(dst_port, failed) AS failed_ports,
    uniqExact(dst_port) AS ports,
    arraySort(groupUniqArrayIf(16)(dst_port, open)) AS open_ports,
    countIf(failed) AS attempts,
    minIf(start, failed) AS first, maxIf(end, failed) AS last,
    groupArraySortedIf(5)(id, failed) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(failed_ports / {min_ports:UInt32})) AS breadth,
    failed_ports / ports AS failure
FROM
(
    SELECT site, src_ip, dst_ip, protocol, dst_port, start, end, /*failed*/ AS failed, /*open*/ AS open, /*flow_id*/ AS id
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
      AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_ip = toIPv6OrDefault({dst:String}) AND site = {site:String})
      AND protocol IN (6, 17, 132) AND (failed OR open) AND /*unicast*/ AND /*purposeful*/
)
WHERE NOT /*exempt*/
GROUP BY site, src_ip, dst_ip
HAVING failed_ports >= {min_ports:UInt32} AND failure >= {min_share:Float64}
ORDER BY failed_ports DESC, src, dst, site
LIMIT 10000

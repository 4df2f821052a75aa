-- Threshold random walk (Jung et al. 2004) of inside sources over the hosts that
-- they contacted in [from, to): each that never answered adds ln(.8/.2), each
-- that did takes as much. src and site narrow it to one source; an empty src
-- means all. Sources of which the other detectors speak are left out.
SELECT site, /*src_text*/ AS src,
    count() AS hosts,
    countIf(NOT answered) AS failed_hosts,
    countIf(answered) AS answered_hosts,
    sumIf(failures, NOT answered) AS attempts,
    arrayMap(x -> replaceRegexpOne(toString(x), '^::ffff:', ''), arraySlice(arraySort(groupArrayIf(1024)(dst_ip, NOT answered)), 1, 16)) AS host_sample,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArrayIf(1024)(port_list, NOT answered)))), 1, 16) AS port_sample,
    minIf(first_failure, NOT answered) AS first, maxIf(last_failure, NOT answered) AS last,
    arraySlice(arraySort(arrayFlatten(groupArrayIf(1024)(ids, NOT answered))), 1, 5) AS flow_ids,
    (toInt64(failed_hosts) - toInt64(answered_hosts)) * log(4) AS likelihood,
    least(1, likelihood / (3 * log(99))) AS walk,
    failed_hosts / hosts AS failure
FROM
(
    SELECT site, src_ip, dst_ip,
        countIf(open) > 0 AS answered, countIf(failed) AS failures,
        uniqExactIf((protocol, dst_port), failed) AS failed_ports,
        arraySort(groupUniqArrayIf(64)(dst_port, failed)) AS port_list,
        minIf(start, failed) AS first_failure, maxIf(end, failed) AS last_failure,
        groupArraySortedIf(1)(id, failed) AS ids
    FROM
    (
        SELECT site, src_ip, dst_ip, protocol, dst_port, start, end, /*failed*/ AS failed, /*open*/ AS open, /*flow_id*/ AS id
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND site = {site:String})
          AND protocol IN (6, 17, 132) AND (failed OR open) AND /*unicast*/ AND /*purposeful*/ AND src_role NOT IN ('scanner', 'monitor')
          AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
    )
    WHERE /*src_inside*/ AND NOT /*exempt*/
    GROUP BY site, src_ip, dst_ip
)
GROUP BY site, src_ip
HAVING failed_hosts >= {min_hosts:UInt32} AND failed_hosts < {scan_hosts:UInt32} AND max(failed_ports) < {scan_ports:UInt32} AND likelihood >= log(99)
ORDER BY likelihood DESC, src, site
LIMIT 10000

-- Inside hosts that asked who is there, by ARP or ICMP, in [from, to): targets by
-- kind. src, kind and site narrow it to one; an empty src means all. A gateway
-- asks for whatever is sent to it: who carries addresses of outside is none to
-- look at for ARP.
SELECT site, /*src_text*/ AS src, kind,
    max(burst) AS busiest_minute,
    max(silent_burst) AS busiest_silent,
    uniqExactMerge(targets) AS hosts,
    uniqExactMerge(silent) AS silent_hosts,
    replaceRegexpOne(toString(min(lowest)), '^::ffff:', '') AS first_host,
    replaceRegexpOne(toString(max(highest)), '^::ffff:', '') AS last_host,
    sum(attempts_here) AS attempts,
    min(first_here) AS first, max(last_here) AS last,
    arraySlice(arraySort(arrayFlatten(groupArray(ids))), 1, 5) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(hosts / {min_minute:UInt32})) AS breadth,
    silent_hosts / hosts AS failure
FROM
(
    SELECT site, src_ip, kind, minute,
        uniqExactState(dst_ip) AS targets, uniqExactStateIf(dst_ip, unanswered) AS silent,
        uniqExact(dst_ip) AS burst, uniqExactIf(dst_ip, unanswered) AS silent_burst,
        min(dst_ip) AS lowest, max(dst_ip) AS highest,
        count() AS attempts_here, min(start) AS first_here, max(end) AS last_here,
        groupArraySorted(5)(id) AS ids
    FROM
    (
        SELECT site, src_ip, dst_ip, start, end, toStartOfMinute(start) AS minute, src_mac, dst_packets = 0 AS unanswered,
            if(ethertype = 2054, 'arp', 'icmp') AS kind, /*flow_id*/ AS id
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND site = {site:String})
          AND segment = 0 AND NOT initiator_guessed AND src_role NOT IN ('scanner', 'monitor', 'gateway')
          AND (ethertype = 2054 AND src_port = 1 AND src_ip != dst_ip AND src_ip != toIPv6('::ffff:0.0.0.0')
               OR protocol = 1 AND src_port IN (8, 13, 15, 17) OR protocol = 58 AND src_port = 128)
          AND /*unicast*/
    )
    WHERE ({kind:String} = '' OR kind = {kind:String}) AND /*src_inside*/ AND NOT /*exempt*/
    GROUP BY site, src_ip, kind, minute
)
GROUP BY site, src_ip, kind
HAVING kind = 'icmp' AND (busiest_silent >= {min_minute:UInt32} AND silent_hosts / hosts >= {min_share:Float64} OR hosts >= {min_hosts:UInt32} AND silent_hosts / hosts >= 0.1 OR hosts >= {many:UInt32})
    OR kind = 'arp' AND hosts >= {min_hosts:UInt32} AND (site, src_ip) NOT IN
    (
        SELECT site, src_ip
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND ethertype = 2054 AND src_mac != 0 AND (site, src_mac) IN
        (
            SELECT site, arrayJoin(arrayFilter(m -> m != 0, [if(/*src_inside*/, 0, src_mac), if(/*dst_inside*/, 0, dst_mac)]))
            FROM flows
            WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND ethertype != 2054 AND /*unicast*/
              AND src_ip != toIPv6('::') AND src_ip != toIPv6('::ffff:0.0.0.0')
        )
    )
ORDER BY hosts DESC, src, kind, site
LIMIT 10000

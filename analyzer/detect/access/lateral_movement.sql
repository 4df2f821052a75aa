-- Inside hosts that used services of remote administration of many inside hosts,
-- in [from, to), with how many of the pairs were never seen before. src and site
-- narrow it to one source; an empty src means all. A site of which less than a
-- week is known is being learnt: nothing is new there.
SELECT site, /*src_text*/ AS src,
    uniqExact(dst_ip) AS hosts,
    countIf(fresh) AS new_pairs,
    uniqExactIf(dst_ip, fresh) AS new_hosts,
    any(learnt) AS known_site,
    arrayMap(x -> concat(x.1, ' ', toString(x.2)), arraySlice(arraySort(groupUniqArray(4096)((dst_text, dst_port))), 1, 12)) AS pair_sample,
    arraySlice(arraySort(groupUniqArray(64)(dst_port)), 1, 16) AS port_list,
    replaceRegexpOne(toString(min(dst_ip)), '^::ffff:', '') AS lowest,
    replaceRegexpOne(toString(max(dst_ip)), '^::ffff:', '') AS highest,
    sum(connections) AS all_connections,
    min(first_at) AS first, max(last_at) AS last,
    arraySlice(arraySort(arrayFlatten(groupArray(ids))), 1, 5) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(hosts / {min_hosts:UInt32})) AS breadth,
    new_pairs / count() AS novelty
FROM
(
    SELECT p.site AS site, p.src_ip AS src_ip, p.dst_ip AS dst_ip, p.dst_port AS dst_port, p.dst_text AS dst_text, p.connections AS connections, p.first_at AS first_at, p.last_at AS last_at, p.ids AS ids,
        sites.since <= {from:DateTime('UTC')} - INTERVAL {grace_days:UInt32} DAY AS learnt,
        learnt AND (known.since = toDateTime64(0, 9, 'UTC') OR known.since >= {from:DateTime('UTC')}) AS fresh
    FROM
    (
        SELECT site, src_ip, dst_ip, dst_port, /*dst_text*/ AS dst_text, concat(/*src_text*/, ' ', dst_text, ' ', toString(dst_port)) AS value,
            uniqExact(start) AS connections, min(start) AS first_at, max(end) AS last_at, groupArraySorted(1)(/*flow_id*/) AS ids
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND NOT initiator_guessed
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND site = {site:String})
          AND protocol = 6 AND dst_port IN (22, 135, 445, 3389, 5985, 5986) AND dst_payload_bytes > 0 AND src_payload_bytes > 0
          AND /*src_inside*/ AND /*dst_inside*/ AND NOT /*exempt*/ AND src_role NOT IN ('scanner', 'monitor', 'backup', 'jump')
        GROUP BY site, src_ip, dst_ip, dst_port
    ) AS p
    LEFT JOIN (SELECT site, value, min(first) AS since FROM first_seen WHERE kind = 'login' GROUP BY site, value) AS known ON p.site = known.site AND p.value = known.value
    LEFT JOIN (SELECT site, min(first) AS since FROM first_seen WHERE kind = 'login' GROUP BY site) AS sites ON p.site = sites.site
)
GROUP BY site, src_ip
HAVING hosts >= {min_hosts:UInt32}
ORDER BY hosts DESC, src, site
LIMIT 10000

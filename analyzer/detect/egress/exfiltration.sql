-- Inside hosts that sent much more to one outside name or address than came back,
-- in [from, to), against what they and their peers send to the outside. Payload
-- octets of connections the host began, of the probe that saw most.
-- src, target and site narrow it to one; an empty src means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    window_start - INTERVAL {history_days:UInt32} DAY AS past,
    outward AS
    (
        SELECT site, probe, src_ip, dst_ip, lower(tls_sni) AS name, start, end, segment, src_payload_bytes AS sent, dst_payload_bytes AS got, /*flow_id*/ AS id
        FROM flows
        WHERE start >= window_start AND start < window_end AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/
    ),
    named AS (SELECT site, src_ip, dst_ip, argMax(name, (sent, name)) AS sni FROM outward WHERE name != '' GROUP BY site, src_ip, dst_ip),
    targets AS
    (
        SELECT site, src_ip, target, max(sent) AS sent, max(got) AS got, min(first) AS first, max(last) AS last, sum(connections) AS connections,
            any(address) AS address, arraySlice(arraySort(arrayFlatten(groupArray(8)(ids))), 1, 5) AS flow_ids
        FROM
        (
            SELECT o.site AS site, o.probe AS probe, o.src_ip AS src_ip, if(n.sni != '', n.sni, replaceRegexpOne(toString(o.dst_ip), '^::ffff:', '')) AS target,
                sum(o.sent) AS sent, sum(o.got) AS got, min(o.start) AS first, max(o.end) AS last, countIf(o.segment = 0) AS connections, max(o.dst_ip) AS address,
                arrayMap(x -> x.2, groupArraySorted(5)((-toInt64(o.sent), o.id))) AS ids
            FROM outward AS o LEFT JOIN named AS n ON o.site = n.site AND o.src_ip = n.src_ip AND o.dst_ip = n.dst_ip
            GROUP BY site, probe, src_ip, target
        )
        WHERE {src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND target = {target:String} AND site = {site:String}
        GROUP BY site, src_ip, target
        HAVING sent >= {min_bytes:UInt64} AND sent >= {min_ratio:Float64} * got
    ),
    senders AS
    (
        SELECT site, src_ip, max(total) AS total
        FROM (SELECT site, probe, src_ip, sum(sent) AS total FROM outward GROUP BY site, probe, src_ip)
        GROUP BY site, src_ip
    ),
    crowd AS
    (
        SELECT site, groupArray((src_ip, log1p(total))) AS logs FROM senders GROUP BY site
    ),
    before AS
    (
        SELECT site, groupUniqArray(toStartOfHour(start)) AS all_hours, uniqExactIf(src_ip, /*src_inside*/) AS inside_hosts
        FROM flows
        WHERE start >= past AND start < window_start AND site IN (SELECT site FROM targets)
        GROUP BY site
    ),
    prevalence AS
    (
        SELECT site, address, uniqExact(src_ip) AS callers
        FROM
        (
            SELECT site, dst_ip AS address, src_ip FROM flows
            WHERE start >= past AND start < window_end AND dst_ip IN (SELECT address FROM targets) AND /*src_inside*/
        )
        GROUP BY site, address
    ),
    hourly AS
    (
        SELECT site, src_ip, groupArray(hour) AS active, groupArray(total) AS amounts, min(hour) AS since
        FROM
        (
            SELECT site, src_ip, hour, max(total) AS total
            FROM
            (
                SELECT site, probe, src_ip, toStartOfHour(start) AS hour, sumIf(src_payload_bytes, NOT /*dst_inside*/ AND /*unicast*/) AS total
                FROM flows
                WHERE start >= past AND start < window_start AND (site, src_ip) IN (SELECT site, src_ip FROM targets)
                GROUP BY site, probe, src_ip, hour
            )
            GROUP BY site, src_ip, hour
        )
        GROUP BY site, src_ip
    ),
    series AS
    (
        SELECT targets.site AS site, targets.src_ip AS src_ip, targets.target AS target, targets.sent AS sent, targets.got AS got, targets.first AS first,
            targets.last AS last, targets.connections AS connections, targets.flow_ids AS flow_ids, senders.total AS observed,
            prevalence.callers AS callers, before.inside_hosts AS inside_hosts,
            arrayMap(x -> x.2, arrayFilter(x -> x.1 != targets.src_ip, crowd.logs)) AS peers,
            if(empty(hourly.active), [], arrayFilter(h -> h >= hourly.since, before.all_hours)) AS hours,
            arrayMap(h -> if(indexOf(hourly.active, h) > 0, hourly.amounts[indexOf(hourly.active, h)], toUInt64(0)), hours) AS bytes
        FROM targets
        INNER JOIN senders ON targets.site = senders.site AND targets.src_ip = senders.src_ip
        INNER JOIN crowd ON targets.site = crowd.site
        LEFT JOIN prevalence ON targets.site = prevalence.site AND targets.address = prevalence.address
        LEFT JOIN hourly ON targets.site = hourly.site AND targets.src_ip = hourly.src_ip
        LEFT JOIN before ON targets.site = before.site
    ),
    /*judged*/
SELECT *, replaceRegexpOne(toString(src_ip), '^::ffff:', '') AS src, length(peers) AS peer_count, length(hours) AS past_hours,
    toBool(callers <= greatest(1, 0.02 * inside_hosts)) AS rare,
    if(empty(peers), 0, arrayReduce('quantileExactInclusive(0.5)', peers)) AS peer_median,
    if(empty(peers), 0, arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - peer_median), peers))) AS peer_mad,
    if(peer_count < 5, 0, (log1p(observed) - peer_median) / greatest(1.4826 * peer_mad, 0.5)) AS peer_z,
    least(1, greatest(0, z / 8)) AS own_past,
    least(1, greatest(0, peer_z / 8)) AS against_peers,
    least(1, log10(1 + sent / greatest(1, got)) / 3) AS one_way,
    if(rare, 1., 1. / callers) AS rarity,
    least(1, greatest(0, 0.5 + 0.25 * log10(sent / {min_bytes:UInt64}))) AS amount
FROM judged
WHERE (rare OR sent >= {min_bytes_any:UInt64})
  AND (level = 'learning' OR z >= {min_z:Float64} AND observed > ceiling AND (peer_count < 5 OR peer_z >= 2))
ORDER BY sent DESC, src, target, site
LIMIT 1000

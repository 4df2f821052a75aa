-- Inside hosts that were seen for the first time in [from, to), those of one network (/24, /64) together
-- where they are {together} or more.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    history AS (SELECT site, min(first) AS since FROM first_seen WHERE kind = 'host' GROUP BY site),
    fresh AS
    (
        SELECT site, value AS actor, toIPv6OrDefault(value) AS src_ip, min(f.first) AS appeared
        FROM first_seen AS f
        WHERE kind = 'host'
        GROUP BY site, value
        HAVING appeared >= window_start AND appeared < window_end AND /*src_inside*/
    ),
    traffic AS
    (
        SELECT site, host, max(n) AS connections, max(k) AS begun, max(b) AS bytes, min(f) AS first, max(l) AS last, max(role) AS role, max(answers) AS answered, max(peers) AS contacts,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS ids
        FROM
        (
            SELECT site, probe, if(s, src_ip, dst_ip) AS host, count() AS n, countIf(s) AS k, sum(src_bytes + dst_bytes) AS b, min(start) AS f, max(end) AS l,
                max(toString(if(s, src_role, dst_role))) AS role, countIf(NOT s AND dst_payload_bytes > 0) AS answers,
                uniqExact(if(s, dst_ip, src_ip)) AS peers, groupArraySorted(5)(/*flow_id*/) AS i
            FROM flows ARRAY JOIN [true, false] AS s
            WHERE start >= window_start AND start < window_end AND if(s, src_ip, dst_ip) IN (SELECT src_ip FROM fresh)
            GROUP BY site, probe, host
        )
        GROUP BY site, host
    ),
    leases AS (SELECT site, ip, argMax(a.mac, (a.hour, a.mac)) AS card FROM assets_seen AS a WHERE a.mac != 0 AND a.hour < window_end AND a.ip IN (SELECT src_ip FROM fresh) GROUP BY site, ip),
    -- a card that is known has only got another address
    cards AS
    (
        SELECT DISTINCT site, mac FROM assets_seen
        WHERE mac != 0 AND hour < window_start AND mac IN (SELECT card FROM leases)
    ),
    hosts AS
    (
        SELECT f.site AS site, f.actor AS host, t.connections AS connections, t.begun AS begun, t.contacts AS contacts, t.bytes AS bytes, t.answered > 0 AS answers, t.role AS role, leases.card AS card,
            t.first AS first, t.last AS last, t.ids AS ids, h.since > window_start - INTERVAL {grace_days:UInt32} DAY AS young,
            if(position(host, '.') > 0, concat(replaceRegexpOne(host, '[0-9]+$', '0'), '/24'), concat(replaceRegexpOne(toString(tupleElement(IPv6CIDRToRange(f.src_ip, 64), 1)), '^::ffff:', ''), '/64')) AS network,
            count() OVER (PARTITION BY f.site, network) AS neighbours
        FROM fresh AS f
        INNER JOIN traffic AS t ON t.site = f.site AND t.host = f.src_ip
        INNER JOIN history AS h ON h.site = f.site
        LEFT JOIN leases ON leases.site = f.site AND leases.ip = f.src_ip
        WHERE NOT young AND f.src_ip NOT BETWEEN toIPv6('fe80::') AND toIPv6('febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff') AND f.src_ip != toIPv6('::')
          AND NOT (leases.card != 0 AND (f.site, leases.card) IN (SELECT site, mac FROM cards))
          AND t.role NOT IN ('guest', 'dhcp')
    )
SELECT site, if(neighbours >= {together:UInt32}, network, host) AS actor, '' AS victim, '' AS value,
    arrayFilter(x -> x != '', [if(count() > 1, arrayStringConcat(arraySlice(arraySort(groupArray(host)), 1, 20), ', '), ''),
        concat(toString(sum(connections)), ' connections, ', toString(sum(begun)), ' of them begun', if(count() > 1, '', concat(', with ', toString(max(contacts)), ' others'))),
        if(max(answers), if(count() > 1, concat(toString(countIf(answers)), ' answer as servers'), 'it answers as a server'), ''), if(max(role) != '', concat('the network has the role ', max(role)), ''),
        if(max(card) != 0 AND count() = 1, concat('card ', MACNumToString(max(card))), '')]) AS details,
    toFloat64(max(begun)) AS amount, count() AS hosts, sum(bytes) AS bytes, false AS learning,
    min(first) AS first, max(last) AS last, arraySlice(arraySort(arrayFlatten(groupArray(ids))), 1, 5) AS flow_ids,
    least(1, 0.2 + 0.1 * log10(sum(connections) + 1) + if(max(answers), 0.2, 0)) AS strength, 1. AS rarity
FROM hosts
GROUP BY site, actor, neighbours
HAVING {one:UInt8} = 0 OR actor = {actor:String} AND site = {site:String}
ORDER BY hosts DESC, amount DESC, actor, site
LIMIT {limit:UInt32}

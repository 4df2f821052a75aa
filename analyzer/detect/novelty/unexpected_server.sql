-- Hosts that answer as DHCP, DNS, NTP or mail servers of the inside for the first
-- time, in [from, to), where others have done so before; inside hosts only.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    window_start - INTERVAL 30 DAY AS past,
    offers AS
    (
        SELECT site, probe, start, end, src_bytes + dst_bytes AS octets, src_ip, dst_ip, /*flow_id*/ AS id,
            multiIf(app = 'dhcp', 'dhcp', app = 'dns', 'dns', app = 'ntp', 'ntp', app = 'smtp', 'smtp', '') AS kind,
            -- an offer may be broadcast by the server, or be the answer of a flow
            toBool(app = 'dhcp' AND src_port = 67 AND dst_port = 68) AS cast,
            if(cast, src_ip, dst_ip) AS server, if(cast, dst_ip, src_ip) AS client, if(cast, src_mac, dst_mac) AS mac, toString(if(cast, src_role, dst_role)) AS role
        FROM flows
        WHERE start >= window_start AND start < window_end AND app IN ('dhcp', 'dns', 'ntp', 'smtp')
          AND (app = 'dhcp' AND arrayExists(r -> match(r, '^(OFFER|ACK)'), app_responses) OR app != 'dhcp' AND dst_payload_bytes > 0 AND dst_port IN (53, 123, 25) AND NOT initiator_guessed)
    ),
    servers AS
    (
        SELECT site, kind, server AS src_ip, max(n) AS answers, max(c) AS clients, max(b) AS bytes, min(f) AS first, max(l) AS last, max(m) AS card, max(r) AS srole,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS ids
        FROM
        (
            SELECT site, probe, kind, server, count() AS n, uniqExact(client) AS c, sum(octets) AS b, min(start) AS f, max(end) AS l, max(mac) AS m, max(role) AS r, groupArraySorted(5)(id) AS i
            FROM offers
            WHERE kind != ''
            GROUP BY site, probe, kind, server
        )
        GROUP BY site, kind, server
        HAVING /*src_inside*/
    ),
    -- those that were known to answer. A DHCP server asked by broadcast is the initiator of its answer.
    known AS
    (
        SELECT site, toString(app) AS kind, if(app = 'dhcp' AND dst_port = 68, src_ip, dst_ip) AS server, min(hour) AS since
        FROM flows_1h
        WHERE hour >= past AND hour < window_start AND app IN ('dhcp', 'dns', 'ntp', 'smtp') AND (app = 'dhcp' AND (dst_port = 68 OR dst_packets > 0) OR app != 'dhcp' AND dst_payload_bytes > 0)
        GROUP BY site, kind, server
    ),
    learnt AS (SELECT site, kind, min(since) AS since, uniqExact(server) AS servers FROM known GROUP BY site, kind),
    history AS (SELECT site, min(hour) AS since FROM hosts_1h WHERE hour >= past AND hour < window_end GROUP BY site)
SELECT s.site AS site, replaceRegexpOne(toString(s.src_ip), '^::ffff:', '') AS actor, '' AS victim, s.kind AS value,
    arrayFilter(x -> x != '', [concat(toString(s.answers), ' answers to ', toString(s.clients), ' clients'), concat(toString(l.servers), ' others have answered before'),
        if(s.card != 0, concat('card ', MACNumToString(s.card)), '')]) AS details,
    toFloat64(s.answers) AS amount, s.clients AS hosts, s.bytes AS bytes, false AS learning, s.first AS first, s.last AS last, s.ids AS flow_ids,
    least(1, if(s.kind IN ('dhcp', 'dns'), 0.6, 0.3) + 0.1 * log2(1 + s.clients)) AS strength, 1. / (1 + log2(greatest(1, l.servers))) AS rarity
FROM servers AS s
INNER JOIN history AS h ON h.site = s.site
INNER JOIN learnt AS l ON l.site = s.site AND l.kind = s.kind
WHERE h.since <= window_start - INTERVAL {grace_days:UInt32} DAY AND l.since <= window_start - INTERVAL {grace_days:UInt32} DAY
  AND s.srole NOT IN ('resolver', 'gateway', 'dhcp', 'dns', 'ntp', 'mail', 'server', 'dmz') AND l.servers <= 20 AND (s.kind = 'dhcp' OR s.clients >= 2 OR s.answers >= 10)
  AND (s.site, s.kind, s.src_ip) NOT IN (SELECT site, kind, server FROM known)
  AND ({one:UInt8} = 0 OR actor = {actor:String} AND value = {value:String} AND s.site = {site:String})
ORDER BY amount DESC, actor, value, site
LIMIT {limit:UInt32}

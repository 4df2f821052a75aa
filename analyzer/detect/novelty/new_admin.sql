-- Inside hosts that got an answer on a port of remote administration of a host
-- they had never administered, in [from, to).
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    history AS (SELECT site, min(first) AS since FROM first_seen WHERE kind = 'host' GROUP BY site),
    logins AS
    (
        SELECT site, value, splitByChar(' ', value) AS words, words[1] AS client, words[2] AS server, toUInt16OrZero(words[3]) AS port, min(f.first) AS appeared, max(f.last) AS latest
        FROM first_seen AS f
        WHERE kind = 'login'
        GROUP BY site, value
    ),
    fresh AS
    (
        SELECT *, toIPv6OrDefault(client) AS src_ip, toIPv6OrDefault(server) AS dst_ip
        FROM logins
        WHERE appeared >= window_start AND appeared < window_end AND /*src_inside*/
    ),
    -- who administers others that way already, and who has long been administered
    admins AS (SELECT DISTINCT site, client, port FROM logins WHERE appeared < window_start),
    aged AS (SELECT site, value AS host, min(f.first) AS since FROM first_seen AS f WHERE kind = 'host' AND value IN (SELECT client FROM fresh) GROUP BY site, value),
    traffic AS
    (
        SELECT site, src_ip, dst_port, max(n) AS connections, max(s) AS servers, max(b) AS bytes, min(f) AS first, max(l) AS last, max(r) AS role, max(w) AS names, max(o) AS outside,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS ids
        FROM
        (
            SELECT site, probe, src_ip, dst_port, count() AS n, uniqExact(dst_ip) AS s, sum(src_bytes + dst_bytes) AS b, min(start) AS f, max(end) AS l, max(toString(src_role)) AS r,
                arrayStringConcat(arraySlice(arraySort(groupUniqArray(/*dst_text*/)), 1, 4), ', ') AS w, countIf(NOT /*dst_inside*/) AS o, groupArraySorted(5)(/*flow_id*/) AS i
            FROM flows
            WHERE start >= window_start AND start < window_end AND (src_ip, dst_ip, dst_port) IN (SELECT src_ip, dst_ip, port FROM fresh) AND protocol = 6 AND dst_payload_bytes > 0
            GROUP BY site, probe, src_ip, dst_port
        )
        GROUP BY site, src_ip, dst_port
    )
SELECT t.site AS site, replaceRegexpOne(toString(t.src_ip), '^::ffff:', '') AS actor, '' AS victim, concat(toString(t.dst_port), '/tcp') AS value,
    arrayFilter(x -> x != '', [concat(toString(t.servers), ' servers: ', t.names), concat(toString(t.connections), ' connections'), if(t.outside > 0, 'outside ones among them', '')]) AS details,
    toFloat64(t.servers) AS amount, t.servers AS hosts, t.bytes AS bytes, toBool(h.since > window_start - INTERVAL {grace_days:UInt32} DAY) AS learning,
    t.first AS first, t.last AS last, t.ids AS flow_ids,
    least(1, 0.4 + 0.2 * log2(t.servers)) AS strength, 1. AS rarity
FROM traffic AS t
INNER JOIN history AS h ON h.site = t.site
INNER JOIN aged AS a ON a.site = t.site AND a.host = actor
WHERE NOT learning AND a.since <= window_start - INTERVAL 1 DAY AND t.role NOT IN /*operators*/
  AND (t.dst_port NOT IN (135, 139, 445) OR t.servers >= 3)
  AND (t.site, actor, t.dst_port) NOT IN (SELECT site, client, port FROM admins)
  AND ({one:UInt8} = 0 OR actor = {actor:String} AND value = {value:String} AND t.site = {site:String})
ORDER BY amount DESC, actor, value, site
LIMIT {limit:UInt32}

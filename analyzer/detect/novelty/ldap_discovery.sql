-- Inside hosts that read out a directory, in [from, to): far more comes back than
-- is asked, or searches that only those ask who look for ways in.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    asked AS
    (
        SELECT site, probe, src_ip, dst_ip, start, end, src_payload_bytes AS sent, dst_payload_bytes AS got, /*flow_id*/ AS id,
            arrayFilter(r -> match(lower(r), {suspicious:String}), app_requests) AS odd, arrayCount(r -> startsWith(r, 'SEARCH'), app_requests) AS searches
        FROM flows
        WHERE start >= window_start AND start < window_end AND protocol = 6 AND (app = 'ldap' OR dst_port IN (389, 3268) AND app IN ('', 'unknown')) AND /*src_inside*/ AND dst_payload_bytes > 0
          AND src_role NOT IN ('server', 'mail', 'dc', 'scanner', 'monitor', 'directory')
    ),
    usual AS
    (
        SELECT site, src_ip, max(got) AS most
        FROM
        (
            SELECT site, src_ip, dst_ip, hour, sum(dst_payload_bytes) AS got FROM flows_1h
            WHERE hour >= window_start - INTERVAL 30 DAY AND hour < window_start AND primary_observer AND src_ip IN (SELECT src_ip FROM asked) AND (app = 'ldap' OR dst_port IN (389, 3268))
            GROUP BY site, src_ip, dst_ip, hour
        )
        GROUP BY site, src_ip
    )
SELECT d.site AS site, replaceRegexpOne(toString(d.src_ip), '^::ffff:', '') AS actor, replaceRegexpOne(toString(d.dst_ip), '^::ffff:', '') AS victim, '' AS value,
    d.got AS got, d.sent AS sent, d.odd AS odd,
    arrayFilter(x -> x != '', concat([concat(formatReadableDecimalSize(got), ' read for ', formatReadableDecimalSize(sent), ' asked'), if(usual.most > 0, concat('at most ', formatReadableDecimalSize(usual.most), ' in an hour before'), '')],
        arraySlice(odd, 1, 3))) AS details,
    toFloat64(got) AS amount, toUInt64(length(odd)) AS hosts, got AS bytes, toBool(empty(odd)) AS learning, d.first AS first, d.last AS last, d.ids AS flow_ids,
    least(1, greatest(0, 0.4 + 0.25 * log10(got / {min_bytes:UInt64})) + if(empty(odd), 0, 0.4)) AS strength, least(1, got / greatest(1, sent) / 100) AS rarity
FROM
(
    SELECT site, src_ip, dst_ip, max(s) AS sent, max(g) AS got, min(f) AS first, max(l) AS last, arraySort(arrayDistinct(arrayFlatten(groupArray(o)))) AS odd,
        arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS ids
    FROM
    (
        SELECT site, probe, src_ip, dst_ip, sum(asked.sent) AS s, sum(asked.got) AS g, min(start) AS f, max(end) AS l, groupUniqArrayArray(asked.odd) AS o, groupArraySorted(5)(id) AS i
        FROM asked
        GROUP BY site, probe, src_ip, dst_ip
    )
    GROUP BY site, src_ip, dst_ip
) AS d
LEFT JOIN usual ON usual.site = d.site AND usual.src_ip = d.src_ip
WHERE (notEmpty(d.odd) OR got >= {min_bytes:UInt64} AND got >= {min_ratio:Float64} * sent AND got >= 4 * usual.most)
  AND ({one:UInt8} = 0 OR actor = {actor:String} AND victim = {victim:String} AND d.site = {site:String})
ORDER BY amount DESC, actor, victim, site
LIMIT {limit:UInt32}

-- Where flows are gone: that a name was asked for, and when. By whom is not stored.
INSERT INTO retro_hits (sweep, source, part, list, kind, value, field, seen, host, first, last, flows, answered, src_bytes, dst_bytes, ports, confidence, at)
SELECT {sweep:String}, 'names_1h', {first:Date}, m.list, m.kind, m.value, f.field, f.seen, toIPv6('::'), f.began, f.ended, f.n, 0, 0, 0, [], m.confidence, now64(3, 'UTC')
FROM
(
    SELECT field, seen, min(b) AS began, max(e) AS ended, max(n1) AS n
    FROM
    (
        SELECT probe, transform(source, ['dns', 'sni', 'http'], ['dns_names', 'tls_sni', 'http_host'], '') AS field, replaceRegexpOne(name, '\\.$', '') AS seen,
               min(first) AS b, max(last) AS e, sum(records) AS n1
        FROM names_1h WHERE hour >= {from:DateTime('UTC')} AND hour < {to:DateTime('UTC')} AND source IN ('dns', 'sni', 'http')
          AND replaceRegexpOne(name, '\\.$', '') IN (SELECT seen FROM retro_matches WHERE sweep = {sweep:String} AND source = 'names_1h' AND first = {first:Date})
        GROUP BY probe, field, seen
    )
    GROUP BY field, seen
) AS f
INNER JOIN (SELECT DISTINCT field, seen, list, kind, value, confidence FROM retro_matches WHERE sweep = {sweep:String} AND source = 'names_1h' AND first = {first:Date}) AS m
ON m.field = f.field AND m.seen = f.seen

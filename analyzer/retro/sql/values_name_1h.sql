-- Where flows are gone: names of names_1h.
INSERT INTO retro_matches (sweep, source, first, field, seen, kind, value, list, confidence)
SELECT DISTINCT {sweep:String}, 'names_1h', {first:Date}, n.field, n.seen, i.kind, i.value, i.list, i.confidence
FROM
(
    SELECT field, seen, arrayJoin(arrayConcat([if(field = 'dns_names', ('', ''), ('url_host', seen))],
               arrayMap(i -> ('domain', arrayStringConcat(arraySlice(labels, i), '.')), range(1, length(labels))))) AS key
    FROM
    (
        SELECT transform(source, ['dns', 'sni', 'http'], ['dns_names', 'tls_sni', 'http_host'], '') AS field, replaceRegexpOne(name, '\\.$', '') AS seen, splitByChar('.', seen) AS labels
        FROM names_1h WHERE hour >= {from:DateTime('UTC')} AND hour < {to:DateTime('UTC')} AND source IN ('dns', 'sni', 'http') GROUP BY source, name
    )
) AS n
INNER JOIN (SELECT kind, value, list, confidence FROM retro_indicators FINAL WHERE sweep = {sweep:String} AND kind IN ('domain', 'url_host')) AS i
ON i.kind = n.key.1 AND i.value = n.key.2

-- What was seen before the first day of which flows are stored.
INSERT INTO retro_matches (sweep, source, first, field, seen, kind, value, list, confidence)
SELECT DISTINCT {sweep:String}, 'first_seen', toDate(0), n.field, n.seen, i.kind, i.value, i.list, i.confidence
FROM
(
    SELECT field, seen, arrayJoin(if(field = 'tls_sni', arrayConcat([('url_host', key)], arrayMap(i -> ('domain', arrayStringConcat(arraySlice(labels, i), '.')), range(1, length(labels)))), [('print', lower(seen))])) AS key
    FROM
    (
        SELECT transform(kind, ['sni', 'certificate'], ['tls_sni', 'tls_cert_sha256'], toString(kind)) AS field, value AS seen,
               lower(replaceRegexpOne(value, '\\.?(:[0-9]+)?$', '')) AS key, splitByChar('.', key) AS labels
        FROM (SELECT kind, value, min(f.first) AS began FROM first_seen_values AS f WHERE kind IN ('sni', 'ja3', 'ja4', 'hassh', 'hassh_server', 'certificate') GROUP BY kind, value)
        WHERE began < {to:DateTime('UTC')}
    )
) AS n
INNER JOIN
(
    SELECT kind, if(kind IN ('domain', 'url_host'), toString(kind), 'print') AS sort, value, list, confidence
    FROM retro_indicators FINAL WHERE sweep = {sweep:String} AND bits = 0
) AS i ON i.sort = n.key.1 AND i.value = n.key.2

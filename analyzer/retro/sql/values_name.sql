-- Names of a part that are indicators, or lie below a domain that is one.
INSERT INTO retro_matches (sweep, source, first, field, seen, kind, value, list, confidence)
SELECT DISTINCT {sweep:String}, 'flows', {first:Date}, n.field, n.seen, i.kind, i.value, i.list, i.confidence
FROM
(
    SELECT field, seen, arrayJoin(arrayConcat([if(field = 'dns_names', ('', ''), ('url_host', name))],
               arrayMap(i -> ('domain', arrayStringConcat(arraySlice(labels, i), '.')), range(1, length(labels))))) AS key
    FROM
    (
        SELECT field, seen, lower(replaceRegexpOne(seen, '\\.?(:[0-9]+)?$', '')) AS name, splitByChar('.', name) AS labels
        FROM
        (
            SELECT 'tls_sni' AS field, tls_sni AS seen FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} AND tls_sni != '' GROUP BY tls_sni
            UNION ALL
            SELECT 'http_host' AS field, http_host AS seen FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} AND http_host != '' GROUP BY http_host
            UNION ALL
            SELECT 'dns_names' AS field, name AS seen FROM flows ARRAY JOIN dns_names AS name WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} GROUP BY name
        )
    )
) AS n
INNER JOIN (SELECT kind, value, list, confidence FROM retro_indicators FINAL WHERE sweep = {sweep:String} AND kind IN ('domain', 'url_host')) AS i
ON i.kind = n.key.1 AND i.value = n.key.2

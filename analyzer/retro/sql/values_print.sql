-- Fingerprints and certificates of a part that are indicators. Lists cannot tell
-- a JA3 from a HASSH, so all are looked up in all.
INSERT INTO retro_matches (sweep, source, first, field, seen, kind, value, list, confidence)
SELECT DISTINCT {sweep:String}, 'flows', {first:Date}, p.field, p.seen, i.kind, i.value, i.list, i.confidence
FROM
(
    SELECT field, seen, lower(seen) AS key FROM
    (
        SELECT 'ja3' AS field, toString(ja3) AS seen FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} AND ja3 != '' GROUP BY ja3
        UNION ALL
        SELECT 'ja4' AS field, toString(ja4) AS seen FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} AND ja4 != '' GROUP BY ja4
        UNION ALL
        SELECT 'hassh' AS field, toString(hassh) AS seen FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} AND hassh != '' GROUP BY hassh
        UNION ALL
        SELECT 'hassh_server' AS field, toString(hassh_server) AS seen FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} AND hassh_server != '' GROUP BY hassh_server
        UNION ALL
        SELECT 'tls_cert_sha256' AS field, tls_cert_sha256 AS seen FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} AND tls_cert_sha256 != '' GROUP BY seen
    )
) AS p
INNER JOIN (SELECT kind, value, list, confidence FROM retro_indicators FINAL WHERE sweep = {sweep:String} AND kind IN ('ja3', 'ja4', 'hassh', 'cert_sha256')) AS i ON i.value = p.key

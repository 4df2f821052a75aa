-- Where flows are gone: that a value was seen, first and last. By whom is not stored.
INSERT INTO retro_hits (sweep, source, part, list, kind, value, field, seen, host, first, last, flows, answered, src_bytes, dst_bytes, ports, confidence, at)
SELECT {sweep:String}, 'first_seen', toDate(0), m.list, m.kind, m.value, m.field, m.seen, toIPv6('::'), f.began, f.ended, 0, 0, 0, 0, [], m.confidence, now64(3, 'UTC')
FROM
(
    SELECT transform(kind, ['sni', 'certificate'], ['tls_sni', 'tls_cert_sha256'], toString(kind)) AS field, value AS seen, min(s.first) AS began, max(s.last) AS ended
    FROM first_seen_values AS s WHERE kind IN ('sni', 'ja3', 'ja4', 'hassh', 'hassh_server', 'certificate')
      AND value IN (SELECT seen FROM retro_matches WHERE sweep = {sweep:String} AND source = 'first_seen')
    GROUP BY kind, value
) AS f
INNER JOIN (SELECT DISTINCT field, seen, list, kind, value, confidence FROM retro_matches WHERE sweep = {sweep:String} AND source = 'first_seen') AS m ON m.field = f.field AND m.seen = f.seen

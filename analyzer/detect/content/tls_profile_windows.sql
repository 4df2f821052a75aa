-- Windows with a young JA4 that few clients have with a server name that is older.
SELECT DISTINCT w
FROM
(
    SELECT f.w AS w, f.site AS site, f.name AS name, f.print AS print, f.src_ip AS src_ip
    FROM
    (
        SELECT toInt64(/*window*/) AS w, site, lower(tls_sni) AS name, toString(ja4) AS print, src_ip
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND ja4 != '' AND tls_sni != ''
    ) AS f
    INNER JOIN
    (
        SELECT site AS seen_at, value AS seen, toInt64(toUnixTimestamp(min(first))) AS since
        FROM first_seen
        WHERE kind = 'ja4'
        GROUP BY seen_at, seen
    ) AS s ON s.seen_at = f.site AND s.seen = f.print
    INNER JOIN
    (
        SELECT site AS known_at, value AS called, toInt64(toUnixTimestamp(min(first))) AS known
        FROM first_seen
        WHERE kind = 'sni'
        GROUP BY known_at, called
    ) AS n ON n.known_at = f.site AND n.called = f.name
    WHERE s.since >= f.w - 86400 * {young_days:UInt32} AND n.known < f.w - 86400
)
GROUP BY w, site, name, print
HAVING uniqExact(src_ip) <= {max_clients:UInt32}
ORDER BY w

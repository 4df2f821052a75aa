-- Windows with a young JA4 that few clients have with a server name that is older, and that never had it.
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
    LEFT JOIN
    (
        SELECT site AS paired_at, name AS paired, toString(ja4) AS partner, toInt64(toUnixTimestamp(min(hour))) AS met
        FROM beacons_1h
        WHERE hour >= {from:DateTime('UTC')} - INTERVAL {history_days:UInt32} DAY AND hour < {to:DateTime('UTC')} AND primary_observer
        GROUP BY paired_at, paired, partner
    ) AS p ON p.paired_at = f.site AND p.paired = f.name AND p.partner = f.print
    WHERE (p.met = 0 OR p.met >= f.w) AND s.since >= f.w - 86400 * {young_days:UInt32} AND n.known < f.w - 86400
)
GROUP BY w, site, name, print
HAVING uniqExact(src_ip) <= {max_clients:UInt32}
ORDER BY w

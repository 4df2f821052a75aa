-- Windows with a young JA4 that few clients have with a server name.
SELECT DISTINCT w
FROM
(
    SELECT toInt64(/*window*/) AS w, site, lower(tls_sni) AS name, toString(ja4) AS print, src_ip
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND ja4 != '' AND tls_sni != ''
) AS f
INNER JOIN
(
    SELECT site, value AS print, toInt64(toUnixTimestamp(min(first))) AS since
    FROM first_seen
    WHERE kind = 'ja4'
    GROUP BY site, print
) AS s ON s.site = f.site AND s.print = f.print
WHERE since >= w - 86400 * {young_days:UInt32}
GROUP BY w, site, name, print
HAVING uniqExact(src_ip) <= {max_clients:UInt32}
ORDER BY w

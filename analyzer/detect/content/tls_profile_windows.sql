-- Windows with a JA4 that few clients have with a server name.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND ja4 != '' AND tls_sni != ''
    GROUP BY w, site, lower(tls_sni), ja4
    HAVING uniqExact(src_ip) <= {max_clients:UInt32}
)
ORDER BY 1

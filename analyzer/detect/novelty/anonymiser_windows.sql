-- Windows with Tor, proxies or tunnels.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND (app IN ('tor', 'socks', 'openvpn', 'wireguard', 'l2tp') OR http_method = 'CONNECT' OR match(lower(tls_sni), '(torproject|tor2web|onion)') OR arrayExists(n -> endsWith(lower(n), '.onion'), dns_names))
)
ORDER BY 1

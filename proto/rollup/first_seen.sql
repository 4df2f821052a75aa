-- When something was seen first and last, by site and probe.
INSERT INTO first_seen_values (kind, value, site, probe, first, last, received)
SELECT seen.1 AS kind, seen.2 AS value, site, probe, min(seen.3), max(seen.4), max(received)
FROM
(
    SELECT site, probe, received, arrayFilter(s -> s.4 > toDateTime64(0, 9, 'UTC'), [
               ('host', src, first, last),
               ('host', dst, first_answer, last_answer),
               ('service', concat(dst, ' ', toString(protocol), '/', toString(dst_port)), first_service, last_service),
               ('login', if(dst_port IN (22, 23, 135, 139, 445, 3389, 5900, 5985, 5986), concat(src, ' ', dst, ' ', toString(dst_port)), ''), first_service, last_service),
               ('host_app', if(app = '', '', concat(src, ' ', app)), first, last)]) AS list
    FROM
    (
        SELECT site, probe, replaceRegexpOne(toString(src_ip), '^::ffff:', '') AS src, replaceRegexpOne(toString(dst_ip), '^::ffff:', '') AS dst,
               dst_port, protocol, toString(app) AS app,
               min(start) AS first, max(end) AS last,
               minIf(start, dst_packets > 0) AS first_answer, maxIf(end, dst_packets > 0) AS last_answer,
               minIf(start, dst_payload_bytes > 0 OR conn_state IN ('S1', 'S2', 'S3', 'SF', 'RSTO', 'RSTR')) AS first_service,
               maxIf(end, dst_payload_bytes > 0 OR conn_state IN ('S1', 'S2', 'S3', 'SF', 'RSTO', 'RSTR')) AS last_service,
               toDateTime(max(flows.received)) AS received
        FROM flows
        WHERE /*rows*/
        GROUP BY site, probe, src_ip, dst_ip, dst_port, protocol, app
    )
    UNION ALL
    SELECT site, probe, toDateTime(max(flows.received)) AS received, arrayMap(v -> (v.1, v.2, min(start), max(end)), [
               ('sni', lower(tls_sni)), ('ja3', toString(ja3)), ('ja4', toString(ja4)), ('hassh', toString(hassh)), ('hassh_server', toString(hassh_server)),
               ('certificate', tls_cert_sha256), ('user_agent', toString(http_user_agent)), ('user', if(domain = '', user, concat(domain, '\\', user)))]) AS list
    FROM flows
    WHERE /*rows*/ AND (tls_sni != '' OR ja3 != '' OR ja4 != '' OR hassh != '' OR hassh_server != '' OR tls_cert_sha256 != '' OR http_user_agent != '' OR user != '')
    GROUP BY site, probe, tls_sni, ja3, ja4, hassh, hassh_server, tls_cert_sha256, http_user_agent, user, domain
)
ARRAY JOIN list AS seen
WHERE value != ''
GROUP BY kind, value, site, probe
-- Names made up by the million, or addresses, must not fill a table that is kept
-- for years.
LIMIT 1000000 BY kind, site, probe

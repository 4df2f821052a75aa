-- Flows of inside hosts that have a shape, in [from, to), with what a model is told of
-- them. Of several probes the first counts.
SELECT site, id, src_ip, dst_ip, dst_port, protocol, app, app_source, service, tls_sni, tls_alpn, ja4, tls_version, first_sizes, first_gaps_us,
    src_packets, dst_packets, src_payload_bytes, dst_payload_bytes, src_size_min, src_size_max, src_size_std, dst_size_min, dst_size_max, dst_size_std,
    src_iat_mean_us, src_iat_std_us, dst_iat_mean_us, dst_iat_std_us, community_id, key, start, end
FROM
(
    SELECT site, /*flow_id*/ AS id, probe, /*src_text*/ AS src_ip, /*dst_text*/ AS dst_ip,
        dst_port, protocol, toString(app) AS app, toString(app_source) AS app_source, toString(service) AS service, lower(tls_sni) AS tls_sni, toString(tls_alpn) AS tls_alpn, toString(ja4) AS ja4,
        tls_version, first_sizes, first_gaps_us, src_packets, dst_packets, src_payload_bytes, dst_payload_bytes, src_size_min, src_size_max, src_size_std,
        dst_size_min, dst_size_max, dst_size_std, src_iat_mean_us, src_iat_std_us, dst_iat_mean_us, dst_iat_std_us, community_id, start, end,
        cityHash64(site, flows.src_ip, flows.dst_ip, src_port, dst_port, protocol, start) AS key
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND length(first_sizes) >= 3
      AND arrayExists((a, b) -> flows.src_ip >= a AND flows.src_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
      AND NOT arrayExists((a, b) -> flows.src_ip >= a AND flows.src_ip <= b, {exempt_first:Array(IPv6)}, {exempt_last:Array(IPv6)})
      AND src_role NOT IN ('scanner', 'monitor', 'lab')
    ORDER BY key, probe
    LIMIT 1 BY key
    LIMIT {limit:UInt32}
)
ORDER BY key

-- Flows of which the model may learn, in [from, to): first segments with payload
-- both ways, in an order that the seed makes. Of several probes the first counts. names: only of these clients,
-- or, with others, of all but these.
SELECT site, id, src_ip, dst_ip, dst_port, protocol, app, app_source, service, tls_sni, tls_alpn, ja4, tls_version, first_sizes, first_gaps_us,
    src_packets, dst_packets, src_payload_bytes, dst_payload_bytes, src_size_min, src_size_max, src_size_std, dst_size_min, dst_size_max, dst_size_std,
    src_iat_mean_us, src_iat_std_us, dst_iat_mean_us, dst_iat_std_us, community_id, place AS key, start, end
FROM
(
    SELECT site, concat(probe, '/', toString(epoch), '/', toString(worker), '/', toString(flow_id)) AS id,
        replaceRegexpOne(toString(flows.src_ip), '^::ffff:', '') AS src_ip, replaceRegexpOne(toString(flows.dst_ip), '^::ffff:', '') AS dst_ip,
        dst_port, protocol, toString(app) AS app, toString(app_source) AS app_source, toString(service) AS service, lower(tls_sni) AS tls_sni, toString(tls_alpn) AS tls_alpn, toString(ja4) AS ja4,
        tls_version, first_sizes, first_gaps_us, src_packets, dst_packets, src_payload_bytes, dst_payload_bytes, src_size_min, src_size_max, src_size_std,
        dst_size_min, dst_size_max, dst_size_std, src_iat_mean_us, src_iat_std_us, dst_iat_mean_us, dst_iat_std_us, community_id, start, end,
        sipHash64({seed:UInt64}, site, flows.src_ip, flows.dst_ip, src_port, dst_port, protocol, start) AS place
    FROM flows
    WHERE start >= fromUnixTimestamp64Nano({from:Int64}) AND start < fromUnixTimestamp64Nano({to:Int64}) AND segment = 0 AND length(first_sizes) >= 3
      AND ({kind:String} != 'app' OR app_source = 'dpi' AND app NOT IN ('', 'unknown'))
      AND ({kind:String} != 'service' OR service != '')
      AND ({kind:String} != 'encrypted' OR app IN ('tls', 'quic', 'dtls', 'http2', 'http3', 'ssh'))
      AND ({clients:UInt8} = 0 OR ({clients:UInt8} = 1) = has({names:Array(String)}, src_ip))
    ORDER BY place, probe
    LIMIT 1 BY place
    LIMIT {limit:UInt32}
)
ORDER BY id

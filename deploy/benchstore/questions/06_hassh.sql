-- one HASSH
-- fingerprint: SELECT toString(v) FROM (SELECT hassh AS v, count() AS c FROM flows WHERE hassh != '' GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni FROM flows WHERE hassh = {fingerprint:String} ORDER BY start DESC LIMIT 1000

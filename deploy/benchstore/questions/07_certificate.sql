-- one certificate by its SHA-256
-- hash: SELECT toString(v) FROM (SELECT tls_cert_sha256 AS v, count() AS c FROM flows WHERE tls_cert_sha256 != '' GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni FROM flows WHERE tls_cert_sha256 = {hash:String} ORDER BY start DESC LIMIT 1000

-- one server name ever
-- name: SELECT toString(v) FROM (SELECT tls_sni AS v, count() AS c FROM flows WHERE tls_sni != '' GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni FROM flows WHERE tls_sni = {name:String} ORDER BY start DESC LIMIT 1000

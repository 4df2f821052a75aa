-- one address, who asked it
-- address: SELECT toString(v) FROM (SELECT dst_ip AS v, count() AS c FROM flows WHERE 1 GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni FROM flows WHERE dst_ip = {address:IPv6} ORDER BY start DESC LIMIT 1000

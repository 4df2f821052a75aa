-- one user
-- user: SELECT toString(v) FROM (SELECT user AS v, count() AS c FROM flows WHERE user != '' GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni, user FROM flows WHERE user = {user:String} ORDER BY start DESC LIMIT 1000

-- one /24 of servers and a port
-- address: SELECT toString(v) FROM (SELECT IPv6CIDRToRange(dst_ip, 120).1 AS v, count() AS c FROM flows WHERE dst_port = 443 GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni FROM flows
WHERE dst_ip BETWEEN {address:IPv6} AND IPv6CIDRToRange({address:IPv6}, 120).2 AND dst_port = 443 ORDER BY start DESC LIMIT 1000

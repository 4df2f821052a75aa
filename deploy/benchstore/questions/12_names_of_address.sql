-- all names of an address
-- address: SELECT toString(v) FROM (SELECT dst_ip AS v, count() AS c FROM flows WHERE tls_sni != '' GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT tls_sni, min(start), max(start), count() FROM flows WHERE dst_ip = {address:IPv6} AND tls_sni != '' GROUP BY tls_sni ORDER BY count() DESC LIMIT 1000

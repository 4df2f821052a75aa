-- all addresses of a name
-- name: SELECT toString(v) FROM (SELECT tls_sni AS v, count() AS c FROM flows WHERE tls_sni != '' GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT dst_ip, min(start), max(start), count() FROM flows WHERE tls_sni = {name:String} GROUP BY dst_ip ORDER BY count() DESC LIMIT 1000

-- the services of a host
-- address: SELECT toString(v) FROM (SELECT dst_ip AS v, count() AS c FROM flows WHERE 1 GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT dst_port, protocol, app, countIf(segment = 0) AS connections, sum(src_bytes + dst_bytes) AS bytes FROM flows
WHERE dst_ip = {address:IPv6} GROUP BY ALL ORDER BY connections DESC LIMIT 100

-- who first spoke to an address
-- address: SELECT toString(v) FROM (SELECT dst_ip AS v, count() AS c FROM flows WHERE 1 GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT argMin(src_ip, start), min(start), max(start), uniqExact(src_ip) FROM flows WHERE dst_ip = {address:IPv6}

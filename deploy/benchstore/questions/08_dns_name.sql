-- one name, who asked for it
-- name: SELECT toString(v) FROM (SELECT arrayJoin(dns_names) AS v, count() AS c FROM flows WHERE notEmpty(dns_names) GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT start, src_ip, dst_ip, dns_names, dns_answers FROM flows WHERE has(dns_names, {name:String}) ORDER BY start DESC LIMIT 1000

-- who used an unusual port
-- port: SELECT toString(v) FROM (SELECT dst_port AS v, count() AS c FROM flows WHERE protocol = 6 GROUP BY v ORDER BY c > {most}, if(c > {most}, c, 0), c DESC, v LIMIT 1)
SELECT src_ip, dst_ip, count(), min(start), max(start) FROM flows WHERE dst_port = {port:UInt16} AND protocol = 6 GROUP BY src_ip, dst_ip ORDER BY count() DESC LIMIT 100

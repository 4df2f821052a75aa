-- top talkers of a week
SELECT src_ip, sum(src_bytes + dst_bytes) AS bytes, countIf(segment = 0) AS connections FROM flows
WHERE start >= (SELECT max(start) FROM flows) - INTERVAL 7 DAY GROUP BY src_ip ORDER BY bytes DESC LIMIT 20

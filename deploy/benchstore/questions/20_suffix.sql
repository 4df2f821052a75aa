-- clients of names that end so, in a week
SELECT src_ip, uniqExact(tls_sni), count() FROM flows
WHERE start >= (SELECT max(start) FROM flows) - INTERVAL 7 DAY AND tls_sni LIKE '%.ru' GROUP BY src_ip ORDER BY count() DESC LIMIT 100

-- octets per application and day
SELECT toDate(start) AS day, app, sum(src_bytes + dst_bytes) AS bytes FROM flows GROUP BY day, app ORDER BY day, bytes DESC

-- Raw flows of each day. ClickHouse knows them by part and reads no row for it.
SELECT toYYYYMMDD(start) AS day, count()
FROM flows
GROUP BY day

-- From when to when there are flows. ClickHouse knows it by part.
SELECT count(), toInt64(toUnixTimestamp64Nano(min(start))), toInt64(toUnixTimestamp64Nano(max(start)))
FROM flows

-- Raw flows of each hour of some days.
SELECT toInt64(toUnixTimestamp(toStartOfHour(start))) AS hour, count()
FROM flows
WHERE toYYYYMMDD(start) IN {days:Array(UInt32)}
GROUP BY hour

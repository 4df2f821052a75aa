-- What all took at each sample since, and what retention had dropped until then.
SELECT s.time, toInt64(any(s.bytes)), toInt64(sumIf(d.bytes, d.time <= s.time))
FROM (SELECT time, sum(bytes) AS bytes FROM storage_samples FINAL WHERE time >= toDateTime(@since, 'UTC') GROUP BY time) AS s
CROSS JOIN
(
    SELECT time, bytes FROM retention_log WHERE time >= toDateTime(@since, 'UTC')
    UNION ALL
    SELECT toDateTime64(0, 3, 'UTC'), toUInt64(0)
) AS d
GROUP BY s.time
ORDER BY s.time

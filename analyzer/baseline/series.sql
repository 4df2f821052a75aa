judged AS
(
    SELECT *,
        toHour(toDateTime({from:UInt32}, 'UTC')) AS hour_of_day,
        toDayOfWeek(toDateTime({from:UInt32}, 'UTC')) AS day_of_week,
        arrayMap(x -> log1p(x), bytes) AS logs,
        arrayFilter((v, h) -> toHour(h) = hour_of_day, logs, hours) AS day_logs,
        arrayFilter((v, h) -> toHour(h) = hour_of_day AND toDayOfWeek(h) = day_of_week, logs, hours) AS week_logs,
        multiIf(length(week_logs) >= 3, 'hour of week', length(day_logs) >= 7, 'hour of day', 'learning') AS level,
        multiIf(level = 'hour of week', week_logs, day_logs) AS used,
        length(used) AS samples,
        if(level = 'learning', 0, arrayReduce('quantileExactInclusive(0.5)', used)) AS median,
        if(level = 'learning', 0, arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - median), used))) AS mad,
        if(level = 'learning', 0, (log1p(observed) - median) / greatest(1.4826 * mad, 0.5)) AS z,
        if(empty(bytes), 0, toFloat64(arrayReduce('quantileExact(0.995)', bytes))) AS ceiling
    FROM series
)

judged AS
(
    SELECT *, if(level = 'learning', 0, (log1p(observed) - median) / greatest(1.4826 * mad, 0.5)) AS z
    FROM
    (
        SELECT *,
            if(level = 'learning', 0, arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - median), used))) AS mad
        FROM
        (
            SELECT *,
                multiIf(length(week_logs) >= 3, 'hour of week', length(day_logs) >= 7, 'hour of day', 'learning') AS level,
                if(level = 'hour of week', week_logs, day_logs) AS used,
                length(used) AS samples,
                if(level = 'learning', 0, arrayReduce('quantileExactInclusive(0.5)', used)) AS median
            FROM
            (
                SELECT *,
                    arrayFilter((v, h) -> toHour(h) = toHour(toDateTime({from:UInt32}, 'UTC')), arrayMap(x -> log1p(x), bytes), hours) AS day_logs,
                    arrayFilter((v, h) -> toHour(h) = toHour(toDateTime({from:UInt32}, 'UTC')) AND toDayOfWeek(h) = toDayOfWeek(toDateTime({from:UInt32}, 'UTC')),
                        arrayMap(x -> log1p(x), bytes), hours) AS week_logs,
                    if(empty(bytes), 0, toFloat64(arrayReduce('quantileExact(0.995)', bytes))) AS ceiling
                FROM series
            )
        )
    )
)

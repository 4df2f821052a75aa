judged AS
(
    SELECT *, if(level = 'learning', 0, (log1p(observed) - median) / greatest(1.4826 * mad, 0.5)) AS z
    FROM
    (
        SELECT *,
            if(level = 'learning', 0, arrayReduce('quantileExactInclusive(0.5)', weighed)) AS median,
            if(level = 'learning', 0, arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - median), weighed))) AS mad
        FROM
        (
            SELECT *,
                if(level = 'learning', 0, arrayReduce('quantileExactInclusive(0.5)', used)) AS plain_median,
                if(level = 'learning', 0, greatest(1.4826 * arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - plain_median), used)), 0.5)) AS plain_spread,
                if(level = 'learning' OR arrayAll(x -> abs(x - plain_median) < 3 * plain_spread, used), used,
                    arrayFlatten(arrayMap(x -> arrayResize([x], multiIf(abs(x - plain_median) < 3 * plain_spread, 100, abs(x - plain_median) < 4 * plain_spread, 10, 1), x), used))) AS weighed
            FROM
            (
                SELECT *,
                    multiIf(length(week_logs) >= 3, 'hour of week', length(day_logs) >= 7, 'hour of day', 'learning') AS level,
                    if(level = 'hour of week', week_logs, day_logs) AS used,
                    length(used) AS samples
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
)

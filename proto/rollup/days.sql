-- Days, what their hours are made of, and what they are.
SELECT toUInt32(day) AS at, hours_build, hours_rows, hours_covered, build, rows, covered
FROM
(
    SELECT toStartOfDay(bucket) AS day, max(newest) AS hours_build, sum(hour_rows) AS hours_rows, min(hour_cover) AS hours_covered
    FROM
    (
        SELECT bucket, max(build) AS newest, argMax(raw_rows, (build, cover)) AS hour_rows, argMax(cover, (build, cover)) AS hour_cover
        FROM rollup_builds
        WHERE rollup = 'flows_1h' AND (@all OR toUnixTimestamp(toStartOfDay(bucket)) IN @days)
        GROUP BY bucket
    )
    GROUP BY day
) AS h
LEFT JOIN
(
    SELECT bucket AS day, max(rollup_builds.build) AS build, argMax(raw_rows, (rollup_builds.build, cover)) AS rows, argMax(cover, (rollup_builds.build, cover)) AS covered
    FROM rollup_builds
    WHERE rollup = 'flows_1d'
    GROUP BY bucket
) AS d USING (day)
WHERE hours_build > build OR hours_rows != rows OR (hours_covered > 0 AND covered = 0)

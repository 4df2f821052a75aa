-- Raw rows that are still there of what a cover has, and how many it says.
SELECT (
        SELECT count() FROM flows
        WHERE /*rows*/ AND (probe, epoch, worker, seq) IN
            (SELECT probe, epoch, worker, arrayJoin(range(f, l + 1)) FROM rollup_covers ARRAY JOIN first AS f, last AS l
             WHERE toUnixTimestamp(bucket) IN @buckets AND cover = @cover)
    ) AS there,
    (SELECT sum(rows) FROM rollup_covers WHERE toUnixTimestamp(bucket) IN @buckets AND cover = @cover) AS said,
    (
        SELECT count() FROM
        (SELECT bucket, max(build) AS newest, argMax(raw_rows, (build, cover)) AS hour_rows FROM rollup_builds
         WHERE rollup = 'flows_1h' AND toStartOfDay(bucket) = toStartOfDay(toDateTime(@at, 'UTC')) GROUP BY bucket) AS e
        LEFT JOIN
        (SELECT bucket, build, sum(segments) AS have FROM flows_1h_builds
         WHERE bucket >= toStartOfDay(toDateTime(@at, 'UTC')) AND bucket < toStartOfDay(toDateTime(@at, 'UTC')) + INTERVAL 1 DAY GROUP BY bucket, build) AS h
        ON e.bucket = h.bucket AND e.newest = h.build
        WHERE have < hour_rows
    ) AS gone

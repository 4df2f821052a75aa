-- Of the given buckets, those that lack rows which batches promises.
SELECT bucket
FROM
(
    SELECT toUInt32(intDiv(minute, 60) * 3600) AS bucket, sum(n) AS promised
    FROM
    (
        SELECT minutes, minute_rows, status
        FROM batches FINAL
        WHERE hasAny(days, arrayDistinct(arrayMap(b -> toDate(toDateTime(b, 'UTC')), @buckets)))
    )
    ARRAY JOIN minutes AS minute, minute_rows AS n
    WHERE status = 'stored' AND bucket IN @buckets
    GROUP BY bucket
) AS p
LEFT JOIN
(
    SELECT toUInt32(bucket) AS bucket, argMax(raw_rows, build) AS built
    FROM rollup_builds
    WHERE rollup = @name
    GROUP BY bucket
) AS b USING (bucket)
WHERE promised > built

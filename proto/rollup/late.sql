-- Batches of the given hours that their covers do not have.
SELECT bucket, probe, epoch, worker, seq, toUInt64(sum(n)) AS rows, max(several) AS several
FROM
(
    SELECT toUInt32(intDiv(minute, 60) * 3600) AS bucket, probe, epoch, worker, seq, n,
           uniqExact(site, probe) OVER (PARTITION BY bucket) > uniqExact(site) OVER (PARTITION BY bucket) AS several
    FROM
    (
        SELECT probe, site, epoch, worker, seq, minutes, minute_rows, status
        FROM batches FINAL
        WHERE hasAny(hours, @hours)
    )
    ARRAY JOIN minutes AS minute, minute_rows AS n
    WHERE status = 'stored' AND intDiv(minute, 60) IN @hours
) AS b
LEFT JOIN
(
    SELECT toUInt32(bucket) AS bucket, probe, epoch, worker, groupArrayArray(first) AS firsts, groupArrayArray(last) AS lasts
    FROM rollup_covers
    WHERE toUnixTimestamp(bucket) IN @buckets AND cover IN @covers
    GROUP BY bucket, probe, epoch, worker
) AS c USING (bucket, probe, epoch, worker)
WHERE NOT arrayExists((f, l) -> seq BETWEEN f AND l, firsts, lasts)
GROUP BY bucket, probe, epoch, worker, seq
ORDER BY bucket, probe, epoch, worker, seq

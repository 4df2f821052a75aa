-- The newest builds of the given hours.
SELECT toString(rollup), toUInt32(bucket) AS at, max(build) AS newest, argMax(raw_rows, (build, cover)) AS rows, argMax(cover, (build, cover)) AS covered
FROM rollup_builds
WHERE toUnixTimestamp(bucket) IN @buckets
GROUP BY bucket, rollup

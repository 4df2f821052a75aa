INSERT INTO rollup_builds (rollup, bucket, build, raw_rows, built)
SELECT @name, bucket, build, sum(segments), now64(3)
FROM flows_1m_builds
WHERE build = @build
GROUP BY bucket, build
SETTINGS async_insert = 0

-- Builds that are not the newest of their bucket and were replaced before
-- @replaced, and builds begun before @unsaid that have never been published.
SELECT DISTINCT toUInt32(bucket) AS b, build
FROM /*table*/
LEFT JOIN
(
    SELECT bucket, max(build) AS newest
    FROM rollup_builds
    WHERE rollup = @name
    GROUP BY bucket
) AS n USING (bucket)
WHERE (build < newest AND newest < @replaced) OR (build > newest AND build < @unsaid)
LIMIT 10000

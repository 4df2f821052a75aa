-- What the newest build of each bucket was made of.
SELECT toString(`rollup`), toInt64(toUnixTimestamp(bucket)), argMax(raw_rows, build)
FROM rollup_builds
WHERE `rollup` IN ('flows_1m', 'flows_1h', 'flows_1d') AND bucket >= {from:DateTime('UTC')} AND bucket < {to:DateTime('UTC')}
GROUP BY `rollup`, bucket

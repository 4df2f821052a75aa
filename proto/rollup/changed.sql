-- Hours for which batches have been stored since, and when the newest was.
SELECT max(stored), groupUniqArrayArray(arrayMap(h -> h * 3600, hours))
FROM batches
WHERE stored >= toDateTime64(@since, 3, 'UTC') AND status = 'stored'

-- Buckets for which batches have been stored since, and when the newest was.
SELECT max(stored), groupUniqArrayArray(arrayMap(m -> intDiv(m, 60) * 3600, minutes))
FROM batches
WHERE stored >= toDateTime64(@since, 3, 'UTC') AND status = 'stored'

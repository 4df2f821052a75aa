SELECT DISTINCT toInt64(m) AS minute
FROM batches FINAL ARRAY JOIN minutes AS m
WHERE status = 'stored' AND toUInt64(m) * 60 >= toUnixTimestamp({from:DateTime('UTC')}) - 60 AND toUInt64(m) * 60 < toUnixTimestamp({to:DateTime('UTC')})
ORDER BY minute

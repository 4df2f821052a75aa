-- Workers heard of lately: up to where they have told all, and where they are.
SELECT toInt64(toUnixTimestamp(argMax(watermark, seq))), toInt64(toUnixTimestamp(argMax(clock, seq))), max(live)
FROM batches
WHERE stored >= toDateTime64(@since, 3, 'UTC')
GROUP BY probe, epoch, worker
HAVING NOT max(end_of_stream)

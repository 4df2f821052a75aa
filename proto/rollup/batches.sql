-- All batches of the given hours.
SELECT toUInt32(intDiv(minute, 60) * 3600) AS bucket, toString(probe), epoch, worker, arraySort(groupUniqArray(seq)) AS seqs, toUInt64(sum(n)) AS rows
FROM
(
    SELECT probe, epoch, worker, seq, minutes, minute_rows, status
    FROM batches FINAL
    WHERE hasAny(hours, @hours)
)
ARRAY JOIN minutes AS minute, minute_rows AS n
WHERE status = 'stored' AND intDiv(minute, 60) IN @hours
GROUP BY bucket, probe, epoch, worker
ORDER BY bucket, probe, epoch, worker

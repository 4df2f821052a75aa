-- Up to when every live capture worker has told all it saw; 1970: none is live.
-- One that was silent for 90 s is not waited for.
SELECT toInt64(toUnixTimestamp64Nano(min(watermark)))
FROM
(
    SELECT argMax(watermark, (received, seq)) AS watermark, argMax(end_of_stream OR NOT live, (received, seq)) AS ended, max(received) AS heard
    FROM batches
    WHERE stored >= now() - INTERVAL 1 DAY AND status = 'stored'
    GROUP BY probe, worker
)
WHERE NOT ended AND heard >= now() - INTERVAL 90 SECOND

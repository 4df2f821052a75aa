INSERT INTO days_received
SELECT arrayJoin(days) AS day, max(received)
FROM batches
WHERE stored >= toDateTime(@since, 'UTC') AND status = 'stored'
GROUP BY day
SETTINGS async_insert = 0

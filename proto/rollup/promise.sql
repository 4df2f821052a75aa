-- What batches promises for the given hours, and whether more than one probe of a
-- site has rows in them.
SELECT toUInt32(intDiv(minute, 60) * 3600) AS bucket, toUInt64(sum(n)) AS promised, uniqExact(site, probe) > uniqExact(site) AS several
FROM
(
    SELECT probe, site, minutes, minute_rows, status
    FROM batches FINAL
    WHERE hasAny(hours, @hours)
)
ARRAY JOIN minutes AS minute, minute_rows AS n
WHERE status = 'stored' AND intDiv(minute, 60) IN @hours
GROUP BY bucket

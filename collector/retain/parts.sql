-- Octets and rows by table and partition; parts that merges have replaced and
-- that are not removed yet take room too, and have partition ''.
SELECT if(database = 'system', 'system', table) AS t, if(active AND database != 'system', partition_id, '') AS p,
       toInt64(sum(bytes_on_disk)), sumIf(rows, active), toInt64(dateDiff('second', max(modification_time), now()))
FROM system.parts
WHERE database IN (currentDatabase(), 'system')
GROUP BY t, p

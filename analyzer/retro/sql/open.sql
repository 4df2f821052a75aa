-- Sweeps that have not come to their end.
SELECT id, source, who, lists, indicators, toString(state), error, parts, parts_done, hits, hosts, began, updated, took_ms
FROM retro_sweeps FINAL
WHERE state != 'done'
ORDER BY began, id

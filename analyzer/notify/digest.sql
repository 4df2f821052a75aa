-- What a digest tells of each detector: alerts of some severities that were raised
-- or changed within its period.
SELECT detector, toString(severity) AS level, countIf(NOT withdrawn) AS alerts, countIf(withdrawn) AS gone, uniqExactIf(actor, actor != '') AS actors,
    uniqExactIf(victim, victim != '') AS victims, min(start) AS first, max(end) AS last,
    arraySlice(arraySort(groupUniqArrayIf(actor, actor != '')), 1, 5) AS some
FROM alerts FINAL
WHERE suppressed_by = '' AND updated >= {from:DateTime64(3, 'UTC')} AND updated < {to:DateTime64(3, 'UTC')} AND severity IN {severities:Array(String)}
GROUP BY detector, severity
ORDER BY alerts DESC, detector, level
LIMIT 500

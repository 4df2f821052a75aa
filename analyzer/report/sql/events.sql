-- Alerts whose traffic touches the period, by detector and severity.
SELECT detector, toString(severity) AS level, countIf(NOT withdrawn AND suppressed_by = '') AS standing, countIf(withdrawn) AS gone, countIf(NOT withdrawn AND suppressed_by != '') AS hidden,
    uniqExactIf(actor, actor != '' AND NOT withdrawn AND suppressed_by = '') AS actors
FROM alerts FINAL
WHERE start < toDateTime({to:UInt32}, 'UTC') AND end >= toDateTime({from:UInt32}, 'UTC')
GROUP BY detector, level
ORDER BY detector, level
LIMIT 5000

-- Alerts that a rule may act on.
SELECT id, actor, victim, title FROM alerts FINAL
WHERE updated >= {since:DateTime64(3, 'UTC')} AND NOT withdrawn AND NOT provisional AND suppressed_by = '' AND detector IN {detectors:Array(String)} AND severity IN {severities:Array(String)}
ORDER BY updated, id
LIMIT 1000

-- The alerts of a digest that matter most.
SELECT id, title, detector, toString(severity), start
FROM alerts FINAL
WHERE suppressed_by = '' AND NOT withdrawn AND updated >= {from:DateTime64(3, 'UTC')} AND updated < {to:DateTime64(3, 'UTC')} AND severity IN {severities:Array(String)}
ORDER BY indexOf(['critical', 'high', 'medium', 'low', 'info'], severity), score DESC, id
LIMIT 50

-- The alerts of the period that matter most.
SELECT id, title, detector, toString(severity) AS level, actor, victim, start, end, score
FROM alerts FINAL
WHERE start < toDateTime({to:UInt32}, 'UTC') AND end >= toDateTime({from:UInt32}, 'UTC') AND NOT withdrawn AND suppressed_by = ''
ORDER BY indexOf(['critical', 'high', 'medium', 'low', 'info'], level), score DESC, id
LIMIT 50

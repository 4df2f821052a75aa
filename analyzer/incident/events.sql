SELECT alert, id, at, who, toString(kind), value, comment, toString(severity), revision
FROM incident_events WHERE alert IN {ids:Array(String)}
ORDER BY alert, at, id
LIMIT 1000000

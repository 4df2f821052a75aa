-- Incidents that were confirmed and overlap [from, to): what they say of whom.
SELECT detector, actor, victim, start, end
FROM alerts FINAL
WHERE actor != '' AND end >= fromUnixTimestamp64Nano({from:Int64}) AND start < fromUnixTimestamp64Nano({to:Int64})
  AND id IN (SELECT alert FROM incident_events WHERE kind = 'verdict' GROUP BY alert HAVING argMax(value, (at, incident_events.id)) = 'true')
ORDER BY detector, actor, victim, start
LIMIT 10000

SELECT alert, verdict FROM
(
    SELECT alert, argMax(value, (at, id)) AS verdict FROM incident_events
    WHERE kind = 'verdict' GROUP BY alert
)
WHERE verdict != '' AND alert IN
(
    SELECT id FROM alerts FINAL
    WHERE detector = {detector:String} AND end >= {from:DateTime64(9, 'UTC')} AND start < {to:DateTime64(9, 'UTC')}
)
ORDER BY alert

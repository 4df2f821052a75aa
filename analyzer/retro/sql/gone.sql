-- Indicators that left their lists.
INSERT INTO retro_swept (kind, value, list, sweep, until, gone, at)
SELECT s.kind, s.value, s.list, s.sweep, s.until, true, now64(3, 'UTC')
FROM (SELECT * FROM retro_swept FINAL WHERE NOT gone) AS s
LEFT ANTI JOIN (SELECT kind, value, list FROM indicators FINAL WHERE expires = 0 OR expires > now()) AS i ON i.kind = s.kind AND i.value = s.value AND i.list = s.list

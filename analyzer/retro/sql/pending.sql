-- Indicators of the threat lists that no sweep has looked for.
SELECT count(), arraySort(groupUniqArray(100)(toString(list)))
FROM (SELECT kind, value, list FROM indicators FINAL WHERE expires = 0 OR expires > now()) AS i
LEFT ANTI JOIN (SELECT kind, value, list FROM retro_swept FINAL WHERE NOT gone) AS s ON s.kind = i.kind AND s.value = i.value AND s.list = i.list

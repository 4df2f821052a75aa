SELECT id, revision, at, who, action, detectors, networks, side, names, ports, ja4, direction, owner, comment, expires
FROM exclusions
WHERE id = {id:String}
ORDER BY revision, at

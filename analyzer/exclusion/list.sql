SELECT id, revision, at, who, action, detectors, networks, side, names, ports, ja4, direction, owner, comment, expires
FROM exclusions
ORDER BY id, revision DESC, at DESC
LIMIT 1 BY id

-- The newest step of each action, newest actions first. An empty list means all.
SELECT id, step, at, state, kind, target, hook, who, why, alert, seconds, expires, attempts, note, asked
FROM
(
    SELECT *, min(at) OVER (PARTITION BY id) AS asked
    FROM response_steps
    WHERE empty({ids:Array(String)}) OR id IN {ids:Array(String)}
    ORDER BY id, step DESC, at
    LIMIT 1 BY id
)
WHERE empty({states:Array(String)}) OR state IN {states:Array(String)}
ORDER BY asked DESC, id
LIMIT {limit:UInt32}

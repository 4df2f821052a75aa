-- Hours with a connection that has lasted long, or that is cut into records.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132)
      AND (segment > 0 OR end >= start + toIntervalSecond({min_seconds:UInt32}))
)
ORDER BY 1

-- Windows with records of a connection that may be one that is kept open, and was before.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol = 6 AND app IN ('', 'unknown', 'http') AND dst_port NOT IN {logins:Array(UInt16)}
      AND (segment > 0 OR end_reason = 'active') AND end >= start + INTERVAL 20 SECOND
)
ORDER BY 1

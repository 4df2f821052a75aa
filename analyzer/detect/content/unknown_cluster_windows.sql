-- Windows with an answered flow that nobody recognised.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND /*unrecognised*/ AND dst_payload_bytes > 0
)
ORDER BY 1

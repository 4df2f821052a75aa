-- Windows with passwords in the clear.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND bitTest(risks, {bit:UInt8})
)
ORDER BY 1

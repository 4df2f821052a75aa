-- Windows with a certificate, version or cipher that is a risk.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND (bitAnd(risks, 1984) != 0 OR tls_cert_not_before > 0)
)
ORDER BY 1

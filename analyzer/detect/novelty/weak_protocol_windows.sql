-- Windows with SMB 1 or old TLS.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND (app = 'smb' OR tls_version IN (768, 769, 770))
)
ORDER BY 1

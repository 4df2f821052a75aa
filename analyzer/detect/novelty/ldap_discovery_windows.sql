-- Windows with a directory that is read.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol = 6 AND (app = 'ldap' OR dst_port IN (389, 3268)) AND dst_payload_bytes > 0
)
ORDER BY 1

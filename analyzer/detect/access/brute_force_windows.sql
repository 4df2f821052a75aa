-- Windows in which a service of a host may see as many attempts, refused ones in
-- one connection included.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND dst_payload_bytes > 0 AND /*login_service*/ != ''
    GROUP BY w, site, dst_ip
    HAVING sum(1 + app_errors + length(http_statuses)) >= {min_attempts:UInt32}
)
ORDER BY 1

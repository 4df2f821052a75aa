-- Windows in which a source names as many users, or logs in to as many hosts.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND dst_payload_bytes > 0 AND /*login_service*/ != ''
    GROUP BY w, site, src_ip
    HAVING uniqExactIf((domain, user), user != '') >= {min_users:UInt32} OR uniqExact(dst_ip) >= {min_hosts:UInt32}
)
ORDER BY 1

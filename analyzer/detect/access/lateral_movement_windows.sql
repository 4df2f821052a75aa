-- Windows in which a source reaches enough hosts.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND protocol = 6 AND dst_port IN (22, 135, 445, 3389, 5985, 5986) AND dst_payload_bytes > 0
    GROUP BY w, site, src_ip
    HAVING uniqExact(dst_ip) >= {min_hosts:UInt32}
)
ORDER BY 1

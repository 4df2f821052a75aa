-- Windows with enough unanswered calls of one outside port.
SELECT DISTINCT w
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol = 6 AND dst_payload_bytes = 0 AND /*src_inside*/ AND NOT /*dst_inside*/
    GROUP BY w, site, probe, src_ip, dst_ip, dst_port
    HAVING count() >= {min_attempts:UInt32}
)
ORDER BY w

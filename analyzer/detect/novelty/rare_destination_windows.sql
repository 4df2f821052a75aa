-- Windows in which some inside host exchanged enough with one outside host.
SELECT DISTINCT w
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND dst_payload_bytes > 0 AND /*src_inside*/ AND NOT /*dst_inside*/
    GROUP BY w, site, probe, src_ip, dst_ip
    HAVING sum(src_payload_bytes + dst_payload_bytes) >= {min_bytes:UInt64}
)
ORDER BY w

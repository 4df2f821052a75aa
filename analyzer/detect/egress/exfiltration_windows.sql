-- Windows in which some inside host sent enough to the outside at all.
SELECT DISTINCT w
FROM
(
    SELECT /*window*/ AS w, site, probe, src_ip, src_payload_bytes
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/
)
GROUP BY w, site, probe, src_ip
HAVING sum(src_payload_bytes) >= {min_bytes:UInt64}
ORDER BY w

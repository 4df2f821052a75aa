-- Windows in which enough went from some inside host to the outside at all.
SELECT DISTINCT w
FROM
(
    SELECT /*window*/ AS w, site, probe, src_ip AS host, protocol IN (1, 58) OR dst_port = 53 AS odd, src_payload_bytes AS sent
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/
    UNION ALL
    SELECT /*window*/ AS w, site, probe, dst_ip AS host, false AS odd, dst_payload_bytes AS sent
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND /*dst_inside*/ AND NOT /*src_inside*/ AND dst_payload_bytes > 0
)
GROUP BY w, site, probe, host
HAVING sum(sent) >= {min_bytes:UInt64} OR sumIf(sent, odd) >= {min_bytes_odd:UInt64}
ORDER BY w

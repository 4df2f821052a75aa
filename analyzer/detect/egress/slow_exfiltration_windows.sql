-- Days in which an inside host sent enough to an outside address for the sum to grow.
SELECT DISTINCT w
FROM
(
    SELECT toInt64(toUnixTimestamp(toStartOfDay(hour))) AS w
    FROM flows_1h
    WHERE hour >= {from:DateTime('UTC')} AND hour < {to:DateTime('UTC')} AND primary_observer AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/ AND {step:Int64} > 0 AND {overlap:UInt32} > 0
    GROUP BY w, site, src_ip, dst_ip
    HAVING sum(src_payload_bytes) >= {min_bytes:UInt64} / 7 * {slack:Float64} AND sum(src_payload_bytes) >= {min_ratio:Float64} * sum(dst_payload_bytes)
)
ORDER BY w

-- Windows in which a site has as much traffic in all as the least of the limits
-- lets pass. Each record counts whole in every window that it touches.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT site,
        arrayJoin(arrayMap(i -> i * {step:Int64}, range(intDiv(toInt64(toUnixTimestamp(start)), {step:Int64}) - {overlap:Int64} + 1,
            intDiv(least(toInt64(toUnixTimestamp(end)), toInt64(toUnixTimestamp(start)) + 300), {step:Int64}) + 1))) AS w,
        src_bytes + dst_bytes AS octets, src_packets + dst_packets AS packets, greatest(1, aggregated_flows) * (segment = 0) AS begun
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 5 MINUTE AND start < {to:DateTime('UTC')}
)
GROUP BY site, w
HAVING sum(octets) > {least_bytes:Float64} OR sum(packets) > {least_packets:Float64} OR sum(begun) > {least_flows:Float64}
ORDER BY 1

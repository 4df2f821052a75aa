-- Hours of [from, to) in which some host moved enough, and more than in all but a
-- few of its hours of the history before: what cannot be above the 0.995 quantile
-- needs no look.
WITH toDateTime({from:DateTime('UTC')}) AS span_start
SELECT DISTINCT arrayJoin(arrayMap(x -> x.1, arrayFilter(
    x -> x.1 >= toInt64(toUnixTimestamp(span_start)) AND x.2 >= {min_bytes:UInt64}
         AND arrayCount(y -> y.1 < x.1 AND y.1 >= x.1 - 86400 * {history_days:Int64} AND y.2 >= x.2, hours) <= 1 + 0.005 * 24 * {history_days:Int64},
    hours))) AS w
FROM
(
    SELECT site, host, direction, groupArray((w, octets)) AS hours
    FROM
    (
        SELECT site, host, direction, w, max(octets) AS octets
        FROM
        (
            SELECT site, probe, side.1 AS host, side.2 AS direction, intDiv(toInt64(toUnixTimestamp(start)), {step:Int64}) * {step:Int64} AS w, sum(side.3) AS octets
            FROM flows
            ARRAY JOIN [(src_ip, 'out', src_bytes), (src_ip, 'in', dst_bytes), (dst_ip, 'out', dst_bytes), (dst_ip, 'in', src_bytes)] AS side
            WHERE start >= span_start - INTERVAL {history_days:Int64} DAY AND start < {to:DateTime('UTC')} AND {overlap:UInt32} = 1
              AND arrayExists((a, b) -> side.1 >= a AND side.1 <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
            GROUP BY site, probe, host, direction, w
        )
        GROUP BY site, host, direction, w
    )
    GROUP BY site, host, direction
    HAVING max(octets) >= {min_bytes:UInt64}
)
ORDER BY w

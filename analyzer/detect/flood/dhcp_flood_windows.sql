-- Windows at whose end a network may get enough requests.
SELECT DISTINCT arrayJoin([toInt64(bin * 10 + 10 - {step:Int64} * {overlap:UInt32}), toInt64(intDiv(bin, 6) * 60)]) AS w
FROM
(
    SELECT site, network, b.1 AS bin
    FROM
    (
        SELECT site, /*dhcp_network*/ AS network, src_packets AS n, /*all_shares*/ AS bins
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 MINUTE AND start < {to:DateTime('UTC')} AND protocol = 17 AND dst_port IN (67, 547)
    )
    ARRAY JOIN bins AS b
    GROUP BY site, network, bin
    HAVING sum(n * b.2) >= 10 * {min_rate:Float64}
)
ORDER BY w

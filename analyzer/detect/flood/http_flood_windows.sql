-- Windows at whose end a web service may be asked enough.
SELECT DISTINCT arrayJoin([toInt64(bin * 10 + 10 - {step:Int64} * {overlap:UInt32}), toInt64(intDiv(bin, 6) * 60)]) AS w
FROM
(
    SELECT site, dst_ip, dst_port, b.1 AS bin
    FROM
    (
        SELECT site, dst_ip, dst_port, greatest(transactions, length(http_requests), 1) AS n, /*all_shares*/ AS bins
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 MINUTE AND start < {to:DateTime('UTC')} AND /*web*/
    )
    ARRAY JOIN bins AS b
    GROUP BY site, dst_ip, dst_port, bin
    HAVING sum(n * b.2) >= 10 * {min_rate:Float64}
)
ORDER BY w

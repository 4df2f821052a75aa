-- Windows at whose end a host may get enough unasked answers.
SELECT DISTINCT arrayJoin([toInt64(bin * 10 + 10 - {step:Int64} * {overlap:UInt32}), toInt64(intDiv(bin, 6) * 60)]) AS w
FROM
(
    SELECT site, if(src_packets = 0, src_ip, dst_ip) AS victim, b.1 AS bin
    FROM
    (
        SELECT site, src_ip, dst_ip, src_packets, dst_packets, /*all_shares*/ AS bins
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 MINUTE AND start < {to:DateTime('UTC')}
          AND protocol = 17 AND (src_packets = 0) != (dst_packets = 0)
          AND (src_port IN {ports:Array(UInt16)} AND dst_packets = 0 OR dst_port IN {ports:Array(UInt16)} AND src_packets = 0 OR src_port = 0 AND dst_port = 0)
    )
    ARRAY JOIN bins AS b
    GROUP BY site, victim, bin
    HAVING sum((src_packets + dst_packets) * b.2) >= 10 * {min_rate:Float64}
)
ORDER BY w

-- Windows at whose end a host may get enough packets.
SELECT DISTINCT arrayJoin([toInt64(bin * 10 + 10 - {step:Int64} * {overlap:UInt32}), toInt64(intDiv(bin, 6) * 60)]) AS w
FROM
(
    SELECT site, side.1 AS victim, side.5 AS kind, b.1 AS bin
    FROM
    (
        SELECT site, greatest(1, aggregated_flows) * (segment = 0) AS flows, arrayJoin(/*sides*/) AS side, /*all_shares*/ AS bins
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 MINUTE AND start < {to:DateTime('UTC')} AND /*unicast*/ AND src_role != 'backup' AND dst_role != 'backup'
    )
    ARRAY JOIN bins AS b
    GROUP BY site, victim, kind, bin
    HAVING multiIf(kind = 'all', sum(side.3 * b.2) >= 10 * {ceiling_packets:Float64} OR sum(side.4 * b.2) * 8 >= 10 * {ceiling_bits:Float64} OR sum(flows * b.2) >= 10 * {ceiling_flows:Float64},
        sum(side.3 * b.2) >= 10 * if(kind IN ('udp', 'ip'), {min_udp_rate:Float64}, {min_rate:Float64}))
)
ORDER BY w

-- Windows at whose end a host may reach the lower threshold.
SELECT DISTINCT arrayJoin([toInt64(bin * 10 + 10 - {step:Int64} * {overlap:UInt32}), toInt64(intDiv(bin, 6) * 60)]) AS w
FROM
(
    SELECT intDiv(toInt64(toUnixTimestamp(start)), 10) AS bin, site, dst_ip
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol = 6 AND segment = 0 AND bitAnd(src_tcp_flags, 2) = 2 AND NOT initiator_guessed AND /*half*/
    GROUP BY bin, site, dst_ip
    HAVING sum(src_packets) >= 10 * {min_rate_single:Float64}
)
ORDER BY w

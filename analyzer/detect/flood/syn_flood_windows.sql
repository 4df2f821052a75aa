-- Windows in which a port may reach the lower threshold.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT intDiv(toInt64(toUnixTimestamp(start)), {step:Int64}) * {step:Int64} AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol = 6 AND segment = 0 AND NOT initiator_guessed AND bitAnd(src_tcp_flags, 18) = 2
      AND {overlap:UInt32} = 1
    GROUP BY w, intDiv(toInt64(toUnixTimestamp(start)), 10), site, dst_ip, dst_port
    HAVING sum(src_packets) >= 10 * {min_rate_single:Float64}
)
ORDER BY 1

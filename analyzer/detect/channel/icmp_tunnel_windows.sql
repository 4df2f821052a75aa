-- Minutes with echoes that carry more than a ping does.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT arrayJoin(range(greatest(intDiv(toUnixTimestamp(start), 60), intDiv(toUnixTimestamp({from:DateTime('UTC')}), 60)), least(intDiv(toUnixTimestamp(start), 60) + 5, intDiv(toUnixTimestamp({to:DateTime('UTC')}), 60)))) * 60 AS w, src_packets + dst_packets AS packets, src_payload_bytes + dst_payload_bytes AS octets
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 4 MINUTE AND start < {to:DateTime('UTC')} AND protocol IN (1, 58) AND src_port IN (0, 8, 128, 129) AND {step:Int64} > 0 AND {overlap:UInt32} > 0
)
GROUP BY w
HAVING sum(octets) > {min_size:Float64} * 2 * {min_echoes:Float64}
ORDER BY 1

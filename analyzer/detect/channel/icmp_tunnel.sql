-- Pairs whose ICMP echoes carry more than a ping does, both ways, in the 5 minutes
-- before to. src, dst and site narrow it to one pair.
SELECT site, src, dst, inside_both, echoes, payload, mean_size, spread, first, last, flow_ids,
    least(1, echoes / {min_echoes:Float64} / 5) AS rate, least(1, mean_size / 256) AS load, least(1, spread / 100) AS variety
FROM
(
    SELECT site, /*src_text*/ AS src, /*dst_text*/ AS dst, /*src_inside*/ AND /*dst_inside*/ AS inside_both,
        least(sum(sent), sum(received)) AS echoes, sum(octets) AS payload, toFloat64(payload) / greatest(1, sum(sent) + sum(received)) AS mean_size,
        toFloat64(max(deviation)) AS spread, min(begun) AS first, max(ended) AS last, arraySlice(arraySort(groupArrayArray(ids)), 1, 5) AS flow_ids
    FROM
    (
        -- the probe that saw most of it
        SELECT site, src_ip, dst_ip, probe, sum(src_packets) AS sent, sum(dst_packets) AS received, sum(src_payload_bytes + dst_payload_bytes) AS octets,
            max(greatest(src_size_std, dst_size_std)) AS deviation, min(start) AS begun, max(end) AS ended, groupArraySorted(5)(/*flow_id*/) AS ids
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 4 MINUTE AND start < {to:DateTime('UTC')} AND protocol IN (1, 58) AND src_port IN (0, 8, 128, 129) AND /*unicast*/ AND NOT /*exempt*/
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_ip = toIPv6OrDefault({dst:String}) AND site = {site:String})
        GROUP BY site, src_ip, dst_ip, probe
        HAVING ended >= {from:DateTime('UTC')}
        ORDER BY sent + received DESC, probe
        LIMIT 1 BY site, src_ip, dst_ip
    )
    GROUP BY site, src_ip, dst_ip
)
-- a ping repeats one size: data does not
WHERE echoes >= {min_echoes:Float64} AND mean_size > {min_size:Float64} AND spread >= {min_spread:Float64}
ORDER BY echoes DESC, src, dst, site
LIMIT 1000

-- Hosts that get answers over UDP that nobody asked for, from ports of services
-- that are used to amplify, in the last 10 s of [from, to), counted in
-- bins of 10 s. Later fragments of such answers have no ports. dst and site
-- narrow it to one host; an empty dst means all.
WITH
    answers AS
    (
        SELECT site, probe, victim, reflector, service, packets, octets, start, end, bins, id
        FROM
        (
            SELECT site, probe, start, end, src_packets = 0 AS turned,
                if(turned, src_ip, dst_ip) AS victim, if(turned, dst_ip, src_ip) AS reflector,
                if(turned, dst_port, src_port) AS service, if(turned, src_port, dst_port) AS asker,
                src_packets + dst_packets AS packets, src_bytes + dst_bytes AS octets, /*shares*/ AS bins, /*flow_id*/ AS id
            FROM flows
            WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 MINUTE AND start < toDateTime({to:UInt32}, 'UTC')
              AND end >= toDateTime({from:UInt32}, 'UTC')
              AND protocol = 17 AND (src_packets = 0) != (dst_packets = 0) AND /*unicast*/
              AND (src_port IN {ports:Array(UInt16)} AND dst_packets = 0 OR dst_port IN {ports:Array(UInt16)} AND src_packets = 0 OR src_port = 0 AND dst_port = 0)
        )
        WHERE {dst:String} = '' OR victim = toIPv6OrDefault({dst:String}) AND site = {site:String}
    ),
    -- who is asked for large answers gets fragments, too
    asked AS
    (
        SELECT src_ip, dst_ip
        FROM flows
        WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 MINUTE AND start < toDateTime({to:UInt32}, 'UTC')
          AND protocol = 17 AND src_packets > 0 AND dst_packets > 0 AND dst_port IN {ports:Array(UInt16)}
          AND src_ip IN (SELECT victim FROM answers)
    ),
    unasked AS (SELECT * FROM answers WHERE (victim, reflector) NOT IN (SELECT src_ip, dst_ip FROM asked)),
    binned AS
    (
        SELECT site, victim, bin, max(p) AS packets, argMax(o, (p, probe)) AS octets
        FROM
        (
            SELECT site, probe, victim, b.1 AS bin, sum(packets * b.2) AS p, sum(octets * b.2) AS o
            FROM unasked ARRAY JOIN bins AS b
            GROUP BY site, probe, victim, bin
        )
        GROUP BY site, victim, bin
    ),
    rates AS
    (
        SELECT site, victim, maxIf(packets, /*judged_bin*/) / 10 AS peak_rate, maxIf(octets, /*judged_bin*/) * 8 / 10 AS peak_bits,
            sum(packets) AS packets_sum, sum(octets) AS octets_sum, count() AS bins_over
        FROM binned
        WHERE packets >= 10 * {min_rate:Float64}
        GROUP BY site, victim
        HAVING peak_rate > 0
    ),
    origins AS
    (
        SELECT site, victim, uniqExact(reflector) AS reflectors, min(start) AS first, max(end) AS last, groupArraySorted(5)(id) AS flow_ids,
            sum(octets) / sum(packets) AS mean_bytes,
            arrayMap(x -> x.2, arraySlice(arraySort(arrayZip(arrayMap(x -> -toInt64(x), tupleElement(sumMap([service], [packets]), 2)), tupleElement(sumMap([service], [packets]), 1))), 1, 5)) AS services
        FROM unasked
        WHERE (site, victim) IN (SELECT site, victim FROM rates)
        GROUP BY site, victim
    )
SELECT site, replaceRegexpOne(toString(victim), '^::ffff:', '') AS dst, peak_rate, peak_bits, packets_sum, octets_sum, bins_over, reflectors, mean_bytes, services, first, last, flow_ids,
    least(1, greatest(0, 0.5 + 0.2 * log10(peak_rate / {min_rate:Float64}))) AS rate,
    least(1, mean_bytes / 1000) AS size,
    least(1, 0.2 * log2(1 + reflectors)) AS spread
FROM rates INNER JOIN origins USING (site, victim)
WHERE mean_bytes > {min_bytes:Float64} AND reflectors >= {min_reflectors:UInt32}
    OR peak_rate >= {small_rate:Float64} AND (reflectors >= {small_reflectors:UInt32} OR mean_bytes > {min_bytes:Float64})
ORDER BY peak_rate DESC, dst, site
LIMIT 1000

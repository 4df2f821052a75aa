-- Hosts that get far more packets of one kind than ever, in one direction only, in
-- the last 10 s of [from, to); kind 'all' is all traffic. Counted in bins of 10 s,
-- those of long flows spread over their duration. What syn_flood and amplification
-- judge is left out. The history, read of candidates only, is the first 10 s of
-- each minute of the hour before. dst, kind and site narrow it to one.
WITH
    sides AS
    (
        SELECT site, probe, start, end, bins, id, flows, side.1 AS victim, side.2 AS peer, side.3 AS packets, side.4 AS octets, side.5 AS kind, side.6 AS port
        FROM
        (
            SELECT site, probe, start, end, /*shares*/ AS bins, /*flow_id*/ AS id, greatest(1, aggregated_flows) * (segment = 0) AS flows, arrayJoin(/*sides*/) AS side
            FROM flows
            WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 MINUTE AND start < toDateTime({to:UInt32}, 'UTC')
              AND end >= toDateTime({from:UInt32}, 'UTC') AND /*unicast*/ AND src_role != 'backup' AND dst_role != 'backup'
              AND ({dst:String} = '' OR site = {site:String} AND (src_ip = toIPv6OrDefault({dst:String}) OR dst_ip = toIPv6OrDefault({dst:String})))
        )
        WHERE {dst:String} = '' OR victim = toIPv6OrDefault({dst:String}) AND kind = {kind:String}
    ),
    binned AS
    (
        SELECT site, victim, kind, bin, max(p) AS packets, argMax(o, (p, probe)) AS octets, argMax(f, (p, probe)) AS flows
        FROM
        (
            SELECT site, probe, victim, kind, b.1 AS bin, sum(packets * b.2) AS p, sum(octets * b.2) AS o, sum(flows * b.2) AS f
            FROM sides ARRAY JOIN bins AS b
            GROUP BY site, probe, victim, kind, bin
        )
        GROUP BY site, victim, kind, bin
    ),
    candidates AS
    (
        SELECT site, victim, kind, groupArray((packets, octets, flows)) AS bins,
            maxIf(packets, /*judged_bin*/) AS peak, maxIf(octets, /*judged_bin*/) AS peak_octets, maxIf(flows, /*judged_bin*/) AS peak_flows
        FROM binned
        GROUP BY site, victim, kind
        HAVING multiIf(kind = 'all', peak >= 10 * {ceiling_packets:Float64} OR peak_octets * 8 >= 10 * {ceiling_bits:Float64} OR peak_flows >= 10 * {ceiling_flows:Float64},
            kind IN ('udp', 'ip'), peak >= 10 * {min_udp_rate:Float64}, peak >= 10 * {min_rate:Float64})
    ),
    past AS
    (
        SELECT site, victim, kind, arrayResize(groupArray(packets), 60, toFloat64(0)) AS history
        FROM
        (
            SELECT site, victim, kind, bin, max(p) AS packets
            FROM
            (
                SELECT site, probe, side.1 AS victim, side.5 AS kind, intDiv(toInt64(toUnixTimestamp(start)), 10) AS bin,
                    -- of a long record, the share of its first 10 s
                    sum(side.3 * if(end > start, least(1., 10 / (toFloat64(end) - toFloat64(start))), 1.)) AS p
                FROM (SELECT site, probe, start, end, arrayJoin(/*sides*/) AS side
                      FROM flows
                      WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 HOUR AND start < toDateTime({from:UInt32}, 'UTC') AND toSecond(start) < 10
                        AND (src_ip IN (SELECT victim FROM candidates) OR dst_ip IN (SELECT victim FROM candidates))
                        AND src_role != 'backup' AND dst_role != 'backup')
                GROUP BY site, probe, victim, kind, bin
            )
            GROUP BY site, victim, kind, bin
        )
        GROUP BY site, victim, kind
    ),
    rates AS
    (
        SELECT *, arrayCount(x -> x.1 >= threshold, bins) AS bins_over, arraySum(bins.1) AS packets_sum,
            peak >= 10 * {ceiling_packets:Float64} OR peak_octets * 8 >= 10 * {ceiling_bits:Float64} OR peak_flows >= 10 * {ceiling_flows:Float64} AS above_ceiling
        FROM
        (
            SELECT *, arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - base), before)) AS mad,
                greatest(multiIf(kind = 'all', 10 * {ceiling_packets:Float64}, kind IN ('udp', 'ip'), 10 * {min_udp_rate:Float64}, 10 * {min_rate:Float64}), base + 6 * 1.4826 * mad) AS threshold
            FROM
            (
                SELECT *, arrayReduce('quantileExactInclusive(0.5)', before) AS base
                FROM
                (
                    SELECT site, victim, kind, bins, peak, peak_octets, peak_flows, if(empty(history), arrayResize([toFloat64(0)], 60, toFloat64(0)), history) AS before
                    FROM candidates LEFT JOIN past USING (site, victim, kind)
                )
            )
        )
        WHERE peak >= threshold AND (bins_over >= 2 OR peak >= 5 * threshold) OR above_ceiling
    ),
    origins AS
    (
        SELECT site, victim, kind, sources, packets_a_record, first, last, flow_ids, busiest.1 AS top_peer, busiest.2 / all_packets AS top_share, top_port
        FROM
        (
            SELECT site, victim, kind, greatest(uniqExact(peer), max(flows)) AS sources, sum(packets) AS all_packets, all_packets / count() AS packets_a_record,
                min(start) AS first, max(end) AS last, groupArraySorted(5)(id) AS flow_ids,
                arraySort(x -> (-x.2, x.1), arrayZip(untuple(sumMap([peer], [packets]))))[1] AS busiest,
                arraySort(x -> (-x.2, x.1), arrayZip(untuple(sumMap([port], [packets]))))[1].1 AS top_port
            FROM sides
            WHERE (site, victim, kind) IN (SELECT site, victim, kind FROM candidates)
            GROUP BY site, victim, kind
        )
    ),
    judged AS
    (
        SELECT *, max(kind != 'all') OVER (PARTITION BY site, victim) AS explained
        FROM rates INNER JOIN origins USING (site, victim, kind)
        WHERE multiIf(kind = 'all', sources >= {crowd:UInt32},
            kind IN ('ack', 'rst', 'syn_ack', 'flags'), packets_a_record <= {max_packets:Float64} OR kind = 'syn_ack', true)
    )
SELECT site, replaceRegexpOne(toString(victim), '^::ffff:', '') AS dst, kind, peak / 10 AS peak_rate, peak_octets * 8 / 10 AS peak_bits, peak_flows / 10 AS peak_flow_rate,
    base / 10 AS base_rate, mad / 10 AS mad_rate, threshold / 10 AS threshold_rate, bins_over, packets_sum, above_ceiling, sources, packets_a_record,
    replaceRegexpOne(toString(top_peer), '^::ffff:', '') AS top_source, top_share, top_port, first, last, flow_ids,
    least(1, greatest(0, 0.5 + 0.25 * log10(peak / threshold))) AS rate,
    least(1, greatest(peak / (10 * {ceiling_packets:Float64}), peak_octets * 8 / (10 * {ceiling_bits:Float64}), peak_flows / (10 * {ceiling_flows:Float64}))) AS ceiling,
    least(1, 0.1 * log2(1 + sources)) AS spread
FROM judged
-- all only where no kind of its own stands for it
WHERE {dst:String} != '' OR kind != 'all' OR NOT explained
ORDER BY peak DESC, dst, kind, site
LIMIT 1000

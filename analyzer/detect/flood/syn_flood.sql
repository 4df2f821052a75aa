-- Ports of hosts that got more unfinished TCP handshakes than they ever do in the
-- last 10 s of [from, to), counted in bins of 10 s; port 0 is all ports of a host, where none of them
-- alone is flooded. The history is read of candidates only: the first 10 s of each
-- minute of the hour before. dst, port and site narrow it to one; an empty dst
-- means all.
WITH
    handshakes AS
    (
        SELECT site, probe, src_ip, dst_ip, dst_port, start, end, intDiv(toInt64(toUnixTimestamp(start)), 10) AS bin, src_packets,
            greatest(1, aggregated_flows) AS connections, /*half*/ AS half, /*flow_id*/ AS id
        FROM flows
        WHERE start >= toDateTime({from:UInt32}, 'UTC') AND start < toDateTime({to:UInt32}, 'UTC')
          AND ({dst:String} = '' OR dst_ip = toIPv6OrDefault({dst:String}) AND site = {site:String})
          AND protocol = 6 AND segment = 0 AND bitAnd(src_tcp_flags, 2) = 2 AND NOT initiator_guessed AND /*unicast*/
    ),
    binned AS
    (
        -- of several probes that see one host, the one that sees most
        SELECT site, dst_ip, port, bin, max(begun) AS syns, argMax(finished, (begun, probe)) AS made
        FROM
        (
            SELECT site, probe, dst_ip, port, bin, sum(s) AS begun, sum(m) AS finished
            FROM
            (
                SELECT site, probe, dst_ip, dst_port, bin, sumIf(src_packets, half) AS s, sumIf(connections, NOT half) AS m
                FROM handshakes
                GROUP BY site, probe, dst_ip, dst_port, bin
            )
            ARRAY JOIN if(dst_port = 0, [0], [dst_port, 0]) AS port
            GROUP BY site, probe, dst_ip, port, bin
        )
        GROUP BY site, dst_ip, port, bin
    ),
    candidates AS
    (
        SELECT site, dst_ip, port, groupArray((syns, made)) AS bins, maxIf(syns, /*judged_bin*/) AS peak
        FROM binned
        WHERE {dst:String} = '' OR port = {port:UInt16}
        GROUP BY site, dst_ip, port
        HAVING peak >= 10 * if(port = 0, {min_rate:Float64}, least({min_rate:Float64}, {min_rate_single:Float64}))
    ),
    past AS
    (
        SELECT site, dst_ip, port, arrayResize(groupArray(syns), 60, toUInt64(0)) AS history
        FROM
        (
            SELECT site, dst_ip, port, bin, max(begun) AS syns
            FROM
            (
                SELECT site, probe, dst_ip, port, intDiv(toInt64(toUnixTimestamp(start)), 10) AS bin, sum(src_packets) AS begun
                FROM flows
                ARRAY JOIN if(dst_port = 0, [0], [dst_port, 0]) AS port
                WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 HOUR AND start < toDateTime({from:UInt32}, 'UTC') AND toSecond(start) < 10
                  AND (site, dst_ip) IN (SELECT site, dst_ip FROM candidates)
                  AND protocol = 6 AND segment = 0 AND bitAnd(src_tcp_flags, 2) = 2 AND NOT initiator_guessed AND /*half*/
                GROUP BY site, probe, dst_ip, port, bin
            )
            GROUP BY site, dst_ip, port, bin
        )
        GROUP BY site, dst_ip, port
    ),
    rates AS
    (
        SELECT site, dst_ip, port,
            if(empty(history), arrayResize([toUInt64(0)], 60, toUInt64(0)), history) AS before,
            arrayReduce('quantileExactInclusive(0.5)', before) AS base,
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - base), before)) AS mad,
            base + 6 * 1.4826 * mad AS usual,
            greatest(10 * {min_rate:Float64}, usual) AS threshold,
            greatest(10 * least({min_rate:Float64}, {min_rate_single:Float64}), usual) AS low_threshold,
            arrayFilter(x -> x.1 >= low_threshold, bins) AS hot,
            peak,
            arraySum(arrayMap(x -> x.1, hot)) AS syns_hot,
            arraySum(arrayMap(x -> x.2, hot)) AS made_hot
        FROM candidates LEFT JOIN past USING (site, dst_ip, port)
        WHERE peak >= low_threshold
    ),
    sources AS
    (
        SELECT site, dst_ip, port, greatest(count(), max(added)) AS sources, max(n) AS top, argMax(src_ip, (n, src_ip)) AS top_ip, sum(n) AS total,
            arraySum(arrayMap(x -> -(x / total) * log2(x / total), groupArray(n))) AS entropy,
            min(first) AS first, max(last) AS last, arraySlice(arraySort(arrayFlatten(groupArray(100)(ids))), 1, 5) AS flow_ids
        FROM
        (
            SELECT site, dst_ip, port, src_ip, sum(src_packets) AS n, max(connections) AS added, min(start) AS first, max(end) AS last, groupArraySorted(1)(id) AS ids
            FROM handshakes
            ARRAY JOIN if(dst_port = 0, [0], [dst_port, 0]) AS port
            WHERE half AND (site, dst_ip, port) IN (SELECT site, dst_ip, port FROM candidates)
            GROUP BY site, dst_ip, port, src_ip
            ORDER BY site, dst_ip, port, src_ip
        )
        GROUP BY site, dst_ip, port
    ),
    judged AS
    (
        SELECT site, dst_ip, port, peak, base, mad, threshold, hot, syns_hot, made_hot, sources, top, top_ip, total, entropy, first, last, flow_ids,
            made_hot / (syns_hot + made_hot) AS completion, top / total AS top_share,
            max(port) OVER (PARTITION BY site, dst_ip) != 0 AS explained
        FROM rates INNER JOIN sources USING (site, dst_ip, port)
        WHERE completion < {max_completion:Float64} AND if(port = 0, peak >= threshold AND (sources >= 20 OR top_share < 0.5), peak >= threshold OR top_share >= 0.9)
    )
SELECT site, /*dst_text*/ AS dst, port, peak / 10 AS peak_rate, base / 10 AS base_rate, mad / 10 AS mad_rate, threshold / 10 AS threshold_rate,
    length(hot) AS bins_over, syns_hot AS syns, completion, sources, top_share, replaceRegexpOne(toString(top_ip), '^::ffff:', '') AS top_source, entropy,
    first, last, flow_ids,
    least(1, greatest(0, 0.5 + 0.25 * log10(peak / threshold))) AS rate,
    1 - completion AS incompletion,
    if(sources > 1, least(1, entropy / log2(sources)), 0) AS spread
FROM judged
-- all ports only where no single one stands for them
WHERE {dst:String} != '' OR port != 0 OR NOT explained
ORDER BY peak DESC, dst, port, site
LIMIT 1000

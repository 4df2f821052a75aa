-- Ports of hosts that got more unanswered or unfinished TCP handshakes than they
-- ever do, in bins of 10 s of [from, to), against the hour before.
-- dst, port and site narrow it to one; an empty dst means all.
WITH
    toInt64({from:UInt32}) / 10 AS first_bin,
    handshakes AS
    (
        SELECT site, src_ip, dst_ip, dst_port, start, end, intDiv(toInt64(toUnixTimestamp(start)), 10) AS bin, src_packets,
            bitAnd(src_tcp_flags, 16) = 0 AS half, /*flow_id*/ AS id
        FROM flows
        WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 HOUR AND start < toDateTime({to:UInt32}, 'UTC')
          AND ({dst:String} = '' OR dst_ip = toIPv6OrDefault({dst:String}) AND dst_port = {port:UInt16} AND site = {site:String})
          AND protocol = 6 AND segment = 0 AND NOT initiator_guessed AND bitAnd(src_tcp_flags, 2) = 2
    ),
    rates AS
    (
        SELECT site, dst_ip, dst_port,
            arrayResize(groupArrayIf(syns, bin < first_bin), 360, toUInt64(0)) AS history,
            arrayReduce('quantileExactInclusive(0.5)', history) AS base,
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - base), history)) AS mad,
            base + 6 * 1.4826 * mad AS usual,
            groupArrayIf((syns, made), bin >= first_bin) AS bins,
            greatest(10 * {min_rate:Float64}, usual) AS threshold,
            greatest(10 * {min_rate_single:Float64}, usual) AS low_threshold,
            arrayFilter(x -> x.1 >= low_threshold, bins) AS hot,
            arrayMax(arrayMap(x -> x.1, bins)) AS peak,
            arraySum(arrayMap(x -> x.1, hot)) AS syns_hot,
            arraySum(arrayMap(x -> x.2, hot)) AS made_hot
        FROM
        (
            SELECT site, dst_ip, dst_port, bin, sumIf(src_packets, half) AS syns, countIf(NOT half) AS made
            FROM handshakes
            GROUP BY site, dst_ip, dst_port, bin
        )
        GROUP BY site, dst_ip, dst_port
        HAVING peak >= low_threshold
    ),
    sources AS
    (
        SELECT site, dst_ip, dst_port, count() AS sources, max(n) AS top, argMax(src_ip, (n, src_ip)) AS top_ip, sum(n) AS total,
            arraySum(arrayMap(x -> -(x / total) * log2(x / total), groupArray(n))) AS entropy,
            min(first) AS first, max(last) AS last, arraySlice(arraySort(arrayFlatten(groupArray(100)(ids))), 1, 5) AS flow_ids
        FROM
        (
            SELECT site, dst_ip, dst_port, src_ip, sum(src_packets) AS n, min(start) AS first, max(end) AS last, groupArraySorted(1)(id) AS ids
            FROM handshakes
            WHERE half AND bin >= first_bin
            GROUP BY site, dst_ip, dst_port, src_ip
            ORDER BY site, dst_ip, dst_port, src_ip
        )
        GROUP BY site, dst_ip, dst_port
    )
SELECT site, /*dst_text*/ AS dst, dst_port AS port, /*dst_inside*/ AS inside,
    peak / 10 AS peak_rate, base / 10 AS base_rate, mad / 10 AS mad_rate, threshold / 10 AS threshold_rate, length(hot) AS bins_over, syns_hot AS syns,
    made_hot / (syns_hot + made_hot) AS completion,
    sources, top / total AS top_share, replaceRegexpOne(toString(top_ip), '^::ffff:', '') AS top_source, entropy,
    first, last, flow_ids,
    least(1, greatest(0, 0.5 + 0.25 * log10(peak / threshold))) AS rate,
    1 - completion AS incompletion,
    if(sources > 1, entropy / log2(sources), 0) AS spread
FROM rates INNER JOIN sources USING (site, dst_ip, dst_port)
WHERE completion < {max_completion:Float64} AND (peak >= threshold OR top_share >= 0.9)
ORDER BY peak DESC, dst, port, site
LIMIT 1000

-- Pairs that talk like a clock, scored as RITA v5 does, in the 24 hours [from, to).
-- src, sni, dst, port and site narrow it to one pair; an empty src means all.
WITH
    answered AS
    (
        SELECT site, src_ip, dst_ip, dst_port, protocol, lower(tls_sni) AS name, start, end, src_bytes, /*flow_id*/ AS id
        FROM flows
        WHERE start >= toDateTime({from:UInt32}, 'UTC') AND start < toDateTime({to:UInt32}, 'UTC')
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_port = {port:UInt16} AND site = {site:String})
          AND protocol IN (6, 17, 132) AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
          AND /*unicast*/ AND dst_port NOT IN (53, 67, 68, 123, 853, 5353) AND /*src_inside*/ AND NOT /*dst_inside*/
    ),
    ifNull((SELECT dateDiff('second', min(start), max(start)) FROM flows WHERE start >= toDateTime({from:UInt32}, 'UTC') AND start < toDateTime({to:UInt32}, 'UTC')), 0) AS dataset_span,
    pairs AS
    (
        SELECT site, src_ip, name, if(name = '', dst_ip, toIPv6('::')) AS target, dst_port, protocol,
            argMax(dst_ip, (start, dst_ip)) AS last_dst, uniqExact(dst_ip) AS addresses,
            arraySort(groupArray(100000)(toInt64(toUnixTimestamp(start)))) AS t, groupArray(100000)(toInt64(src_bytes)) AS sizes,
            count() AS connections, min(start) AS first, max(end) AS last, groupArraySorted(5)(id) AS flow_ids
        FROM answered
        WHERE name != '' OR (site, src_ip, dst_ip, dst_port) NOT IN (SELECT site, src_ip, dst_ip, dst_port FROM answered WHERE name != '')
        GROUP BY site, src_ip, name, target, dst_port, protocol
        HAVING connections >= 4
    )
SELECT *, 0.25 * ts + 0.25 * ds + 0.25 * dur + 0.25 * hist AS score
FROM
(
    SELECT *,
        if(gq[3] - gq[1] < 10 OR gq[2] = gq[1] OR gq[2] = gq[3], 0, (gq[1] + gq[3] - 2 * gq[2]) / (gq[3] - gq[1])) AS gap_skew,
        if(sq[3] - sq[1] < 10 OR sq[2] = sq[1] OR sq[2] = sq[3], 0, (sq[1] + sq[3] - 2 * sq[2]) / (sq[3] - sq[1])) AS size_skew,
        ((1 - abs(gap_skew)) + greatest(0, if(gq[2] > 0, (gq[2] - gap_mad) / gq[2], 0))) / 2 AS ts,
        ((1 - abs(size_skew)) + greatest(0, if(sq[2] > 0, (sq[2] - size_mad) / sq[2], 0))) / 2 AS ds,
        if(length(bars) < 6, 0, least(1, greatest(if(dataset_span > 0, (t[-1] - t[1]) / dataset_span, 0), longest_run / 12))) AS dur,
        greatest(
            greatest(0, 1 - sqrt(greatest(0, arrayAvg(arrayMap(x -> x * x, hours)) - pow(arrayAvg(hours), 2))) / arrayAvg(hours)),
            if(length(bars) >= 11, (common[1] + common[2]) / length(bars), 0)) AS hist
    FROM
    (
        SELECT *,
            gq[2] AS gap_median, sq[2] AS size_median,
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - gq[2]), gaps)) AS gap_mad,
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - sq[2]), sizes)) AS size_mad,
            arrayMax(arrayMap(x -> length(x), splitByChar('0', arrayStringConcat(arrayMap(x -> if(x > 0, '1', '0'), hours))))) AS longest_run,
            arrayReverseSort(arrayMap(x -> countEqual(bars, x), arrayDistinct(bars))) AS common,
            if(empty(real_gaps), 0, arrayCount(x -> x BETWEEN 0.65 * real_median AND 1.35 * real_median, real_gaps) / length(real_gaps)) AS concentration
        FROM
        (
            SELECT *,
                arrayReduce('quantilesExactInclusive(0.25, 0.5, 0.75)', gaps) AS gq,
                arrayReduce('quantilesExactInclusive(0.25, 0.5, 0.75)', sizes) AS sq,
                arrayFilter(x -> x >= 1, gaps) AS real_gaps,
                arrayReduce('medianExact', real_gaps) AS real_median,
                arrayMap(h -> countEqual(hour, h), range(24)) AS hours,
                arrayFilter(x -> x > 0, hours) AS bars
            FROM
            (
                SELECT site, /*src_text*/ AS src, name AS sni, replaceRegexpOne(toString(last_dst), '^::ffff:', '') AS dst, addresses, dst_port AS port, protocol,
                    connections, first, last, flow_ids, t, sizes, arraySlice(arrayDifference(t), 2) AS gaps,
                    arrayMap(x -> least(23, intDiv(x - toInt64({from:UInt32}), 3600)), t) AS hour
                FROM pairs
                WHERE {src:String} = '' OR name = {sni:String} AND (name != '' OR last_dst = toIPv6OrDefault({dst:String}))
            )
        )
    )
    WHERE gap_median >= {min_gap:Float64}
      AND concentration >= least(0.9, greatest({min_concentration:Float64}, 0.245 + 5 * sqrt(0.185 / greatest(1, length(real_gaps)))))
)
WHERE score >= if(connections >= {min_connections:UInt32}, {min_score:Float64}, greatest(0.7, {min_score:Float64}))
ORDER BY score DESC, src, sni, dst, port, protocol, site
LIMIT 1000

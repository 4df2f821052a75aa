-- Clients that call a name or an address by the clock, judged at the end of the
-- window [from, to) over the last 1 and 2 hours, at full hours also over the last 6
-- and 24, and every 6 hours over 7 days. src, target, port and site narrow it to one
-- pair. Each level names what the next one reckons with: an alias that is used again
-- on its own level is written out anew each time.
/*calls*/,
    timed AS
    (
        SELECT *, arrayFilter(x -> x >= 1000, differences) AS g1, arrayFilter(x -> x >= 10000, differences) AS g10
        FROM
        (
            SELECT *, arrayMap(x -> x.1, calls) AS t, arrayMap(x -> x.2, calls) AS sizes, arraySlice(arrayDifference(t), 2) AS differences
            FROM
            (
                SELECT *, arrayJoin(arrayFilter(x -> x <= reach, [3600, 7200, 21600, 86400, 604800])) AS lookback,
                    arrayFilter(x -> x.1 >= ({to:Int64} - lookback) * 1000, all_calls) AS calls
                FROM pairs
            )
            WHERE length(calls) >= 7
        )
    ),
    -- each call may be several connections: then what counts is the pause between the bursts
    chosen AS
    (
        SELECT * EXCEPT (g1, g10, m1, m10, c1, c10), if(bursts, g10, g1) AS gaps, if(bursts, m10, m1) AS median, if(bursts, c10, c1) AS conc, if(bursts, 1.0, 1.244) AS weight
        FROM
        (
            SELECT *, m10 >= 60000 AND c10 > c1 AND length(g10) < length(g1) AS bursts
            FROM
            (
                SELECT *, if(empty(g1), 0, arrayCount(x -> x BETWEEN 0.65 * m1 AND 1.35 * m1, g1) / length(g1)) AS c1,
                    if(empty(g10), 0, arrayCount(x -> x BETWEEN 0.65 * m10 AND 1.35 * m10, g10) / length(g10)) AS c10
                FROM (SELECT *, arrayReduce('medianExact', g1) AS m1, arrayReduce('medianExact', g10) AS m10, arrayReduce('medianExact', sizes) AS size_median FROM timed)
            )
        )
    ),
    regular AS
    (
        SELECT *
        FROM
        (
            -- how much likelier the gaps are of a clock that fails now and then than of a memoryless poller, logarithm
            SELECT *, close * weight - 0.685 * (n - close - short - far) - 2.73 * far - 3.6 * short AS likelihood
            FROM
            (
            SELECT *, length(gaps) AS n, t[1] AS first_at, t[-1] AS last_at,
                arrayReduce('medianExact', arrayMap(x -> abs(x - median), gaps)) AS gap_spread,
                arrayReduce('medianExact', arrayMap(x -> abs(x - size_median), sizes)) AS size_spread,
                arrayCount(x -> x < 0.65 * median, gaps) AS short, arrayCount(x -> x > 2.7 * median, gaps) AS far, round(conc * length(gaps)) AS close,
                arrayCount(x -> x BETWEEN 0.85 * median AND 1.15 * median, gaps) AS tight
            FROM chosen
            WHERE notEmpty(gaps) AND conc >= {min_concentration:Float64}
            )
        )
        WHERE median <= {max_gap:Float64} * 1000
          AND if(median >= {min_gap:Float64} * 1000,
                 n + 1 >= {min_connections:UInt32} AND likelihood >= 10.5 OR n >= 6 AND tight = n,
                 way != 'in' AND dst_port NOT IN {logins:Array(UInt16)} AND lookback <= 7200 AND median >= 1000 AND n >= 20 AND likelihood >= 10.5)
    ),
    hosts AS (SELECT uniqExact(src_ip) FROM flows WHERE start >= recent AND start < until AND /*src_inside*/),
    scored AS
    (
        SELECT *, conc * span * size * rarity AS score
        FROM
        (
            SELECT *, least(1, 0.6 + 0.4 * log(1 + (last_at - first_at) / 3600000) / log(25)) AS span,
                if(size_median = 0, 0, greatest(0, 1 - greatest(0, size_spread / size_median - {max_size_spread:Float64}) / (1 - {max_size_spread:Float64}))) AS size,
                multiIf(way = 'in', 0.9, clients <= 1, 1., least(1, greatest(0.4, 1 - 0.6 * log(clients / hosts_seen / 0.02) / log(25)))) * if(way = 'across', 0.7, 1) * if(is_known, 0.5, 1) AS rarity
            FROM
            (
                SELECT *, greatest(ifNull((SELECT * FROM hosts), 0), 20) AS hosts_seen,
                    arrayExists(s -> target = s OR endsWith(target, concat('.', s)), {known:Array(String)}) AS is_known
                FROM regular
            )
        )
        WHERE score >= {min_score:Float64}
        ORDER BY score DESC, lookback, dst_port, protocol, variant
        LIMIT 1 BY site, src_ip, target
    ),
    -- RITA v5: a quarter each for times, sizes, duration and histogram, over the calls of the last 24 hours that were read
    day AS
    (
        SELECT *, arraySlice(arrayDifference(rt), 2) AS rg, arrayFilter(x -> x > 0, hour_counts) AS bars,
            arrayMax(arrayMap(x -> length(x), splitByChar('0', arrayStringConcat(arrayMap(x -> if(x > 0, '1', '0'), hour_counts))))) AS longest_run
        FROM
        (
            SELECT *, arrayMap(h -> countEqual(in_hour, h), range(24)) AS hour_counts
            FROM
            (
                SELECT *, arrayMap(x -> 23 - intDiv({to:Int64} - 1 - x, 3600), rt) AS in_hour
                FROM
                (
                    SELECT *, arrayMap(x -> intDiv(x.1, 1000), day_calls) AS rt, arrayMap(x -> x.2, day_calls) AS rs
                    FROM (SELECT *, arrayFilter(x -> x.1 >= ({to:Int64} - 86400) * 1000, all_calls) AS day_calls FROM scored)
                )
            )
        )
    )
SELECT site, /*src_text*/ AS src, target, named, way, replaceRegexpOne(toString(last_dst), '^::ffff:', '') AS dst, addresses, dst_port AS port, protocol, variant AS ja4,
    toUInt64(length(t)) AS connections, toUInt32(lookback) AS lookback, fromUnixTimestamp64Milli(first_at, 'UTC') AS first, fromUnixTimestamp64Milli(last_at, 'UTC') AS last_call, flow_ids,
    median / 1000 AS gap_median, gap_spread / 1000 AS gap_mad, toFloat64(size_median) AS size_median_bytes, toFloat64(size_spread) AS size_mad,
    conc AS concentration, span, size, rarity, clients, toUInt64(hosts_seen) AS hosts, is_known AS known, hour_counts AS hours, score, (ts + ds + dur + hist) / 4 AS rita
FROM
(
    SELECT *, ((1 - abs(gap_skew)) + greatest(0, if(gq[2] > 0, (gq[2] - rita_gap_mad) / gq[2], 0))) / 2 AS ts,
        ((1 - abs(size_skew)) + greatest(0, if(sq[2] > 0, (sq[2] - rita_size_mad) / sq[2], 0))) / 2 AS ds,
        if(length(bars) < 6, 0, least(1, greatest((rt[-1] - rt[1]) / 86400, longest_run / 12))) AS dur,
        greatest(greatest(0, 1 - sqrt(greatest(0, arrayAvg(arrayMap(x -> x * x, hour_counts)) - pow(arrayAvg(hour_counts), 2))) / arrayAvg(hour_counts)),
            if(length(bars) >= 11, (common[1] + common[2]) / length(bars), 0)) AS hist
    FROM
    (
        SELECT *, arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - gq[2]), rg)) AS rita_gap_mad,
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - sq[2]), rs)) AS rita_size_mad,
            if(gq[3] - gq[1] < 10 OR gq[2] = gq[1] OR gq[2] = gq[3], 0, (gq[1] + gq[3] - 2 * gq[2]) / (gq[3] - gq[1])) AS gap_skew,
            if(sq[3] - sq[1] < 10 OR sq[2] = sq[1] OR sq[2] = sq[3], 0, (sq[1] + sq[3] - 2 * sq[2]) / (sq[3] - sq[1])) AS size_skew,
            arrayReverseSort(arrayMap(x -> countEqual(bars, x), arrayDistinct(bars))) AS common
        FROM (SELECT *, arrayReduce('quantilesExactInclusive(0.25, 0.5, 0.75)', rg) AS gq, arrayReduce('quantilesExactInclusive(0.25, 0.5, 0.75)', rs) AS sq FROM day)
    )
)
ORDER BY score DESC, src, target, site
LIMIT 1000

-- Web services of which single sources ask far more than anybody does, in the
-- last 10 s of [from, to), counted in bins of 10 s: requests of sources that make
-- at least hard_rate of them a second. The history, read of candidates only, is the
-- first 10 s of each minute of the hour before. dst, port and site narrow it to one.
WITH
    requests AS
    (
        SELECT site, probe, src_ip, dst_ip, dst_port, greatest(transactions, length(http_requests), 1) AS n, start, end, http_uri, http_user_agent, /*shares*/ AS bins, /*flow_id*/ AS id
        FROM flows
        WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 MINUTE AND start < toDateTime({to:UInt32}, 'UTC') AND end >= toDateTime({from:UInt32}, 'UTC')
          AND ({dst:String} = '' OR dst_ip = toIPv6OrDefault({dst:String}) AND dst_port = {port:UInt16} AND site = {site:String})
          AND /*web*/ AND NOT /*exempt*/
    ),
    by_source AS
    (
        SELECT site, probe, dst_ip, dst_port, src_ip, b.1 AS bin, sum(n * b.2) AS r
        FROM requests ARRAY JOIN bins AS b
        GROUP BY site, probe, dst_ip, dst_port, src_ip, bin
    ),
    binned AS
    (
        SELECT site, dst_ip, dst_port, bin, max(h) AS hard, argMax(a, (h, probe)) AS total, argMax(s, (h, probe)) AS sources
        FROM
        (
            SELECT site, probe, dst_ip, dst_port, bin, sumIf(r, r >= 10 * {hard_rate:Float64}) AS h, sum(r) AS a, countIf(r >= 10 * {hard_rate:Float64}) AS s
            FROM by_source
            GROUP BY site, probe, dst_ip, dst_port, bin
        )
        GROUP BY site, dst_ip, dst_port, bin
    ),
    candidates AS
    (
        SELECT site, dst_ip, dst_port, groupArray((hard, total)) AS bins, maxIf(hard, /*judged_bin*/) AS peak, maxIf(total, /*judged_bin*/) AS all_requests,
            maxIf(sources, /*judged_bin*/) AS hard_sources
        FROM binned
        GROUP BY site, dst_ip, dst_port
        HAVING peak >= 10 * {min_rate:Float64}
    ),
    past AS
    (
        SELECT site, dst_ip, dst_port, arrayResize(groupArray(total), 60, toFloat64(0)) AS history
        FROM
        (
            SELECT site, dst_ip, dst_port, bin, max(a) AS total
            FROM
            (
                SELECT site, probe, dst_ip, dst_port, intDiv(toInt64(toUnixTimestamp(start)), 10) AS bin,
                    sum(greatest(transactions, length(http_requests), 1) * if(end > start, least(1., 10 / (toFloat64(end) - toFloat64(start))), 1.)) AS a
                FROM flows
                WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 HOUR AND start < toDateTime({from:UInt32}, 'UTC') AND toSecond(start) < 10
                  AND (site, dst_ip, dst_port) IN (SELECT site, dst_ip, dst_port FROM candidates) AND /*web*/ AND NOT /*exempt*/
                GROUP BY site, probe, dst_ip, dst_port, bin
            )
            GROUP BY site, dst_ip, dst_port, bin
        )
        GROUP BY site, dst_ip, dst_port
    ),
    rates AS
    (
        SELECT site, dst_ip, dst_port, bins, peak, all_requests, hard_sources,
            if(empty(history), arrayResize([toFloat64(0)], 60, toFloat64(0)), history) AS before,
            arrayReduce('quantileExactInclusive(0.5)', before) AS base,
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - base), before)) AS mad,
            greatest(10 * {min_rate:Float64}, base + 6 * 1.4826 * mad) AS threshold,
            arrayCount(x -> x.1 >= threshold, bins) AS bins_over, arraySum(arrayMap(x -> x.1, bins)) AS requests_sum
        FROM candidates LEFT JOIN past USING (site, dst_ip, dst_port)
        WHERE peak >= threshold AND bins_over >= 2
    ),
    origins AS
    (
        SELECT site, dst_ip, dst_port, sum(n) AS total, argMax(src_ip, (n, src_ip)) AS top, max(n) / total AS top_share, min(first) AS first, max(last) AS last,
            max(inside) AS from_inside, min(inside) AS only_inside, arraySlice(arraySort(arrayFlatten(groupArray(100)(ids))), 1, 5) AS flow_ids, argMax(agent, (n, src_ip)) AS agent, argMax(uri, (n, src_ip)) AS uri
        FROM
        (
            SELECT site, dst_ip, dst_port, src_ip, sum(requests.n) AS n, min(start) AS first, max(end) AS last, groupArraySorted(1)(id) AS ids, max(http_user_agent) AS agent, max(http_uri) AS uri,
                /*src_inside*/ AS inside
            FROM requests
            WHERE (site, dst_ip, dst_port) IN (SELECT site, dst_ip, dst_port FROM candidates)
              AND (site, dst_ip, dst_port, src_ip) IN (SELECT site, dst_ip, dst_port, src_ip FROM by_source WHERE r >= 10 * {hard_rate:Float64})
            GROUP BY site, dst_ip, dst_port, src_ip
            ORDER BY site, dst_ip, dst_port, src_ip
        )
        GROUP BY site, dst_ip, dst_port
    )
SELECT site, /*dst_text*/ AS dst, dst_port AS port, peak / 10 AS peak_rate, all_requests / 10 AS all_rate, toUInt64(hard_sources) AS sources, base / 10 AS base_rate, mad / 10 AS mad_rate,
    threshold / 10 AS threshold_rate, bins_over, requests_sum, replaceRegexpOne(toString(top), '^::ffff:', '') AS top_source, top_share, only_inside, agent, uri, first, last, flow_ids,
    least(1, greatest(0, 0.5 + 0.25 * log10(peak / threshold))) AS rate,
    peak / all_requests AS share,
    least(1, 0.2 * log2(1 + sources)) AS spread
FROM rates INNER JOIN origins USING (site, dst_ip, dst_port)
ORDER BY peak DESC, dst, port, site
LIMIT 1000

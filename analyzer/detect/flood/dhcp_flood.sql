-- Networks whose DHCP servers get more requests than ever in the last 10 s of
-- [from, to), counted in bins of 10 s: by the /24 or /64 of the server, or the
-- broadcast address. The history, read of candidates only, is the first 10 s of each
-- minute of the hour before. network and site narrow it to one; empty means all.
WITH
    requests AS
    (
        SELECT site, probe, /*dhcp_network*/ AS network, src_ip, src_mac, src_packets AS n, start, end, /*shares*/ AS bins, /*flow_id*/ AS id
        FROM flows
        WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 MINUTE AND start < toDateTime({to:UInt32}, 'UTC') AND end >= toDateTime({from:UInt32}, 'UTC')
          AND protocol = 17 AND dst_port IN (67, 547) AND src_packets > 0
          AND ({network:String} = '' OR network = {network:String} AND site = {site:String})
    ),
    binned AS
    (
        SELECT site, network, bin, max(p) AS n
        FROM (SELECT site, probe, network, b.1 AS bin, sum(requests.n * b.2) AS p FROM requests ARRAY JOIN bins AS b GROUP BY site, probe, network, bin)
        GROUP BY site, network, bin
    ),
    candidates AS
    (
        SELECT site, network, maxIf(n, /*judged_bin*/) AS peak, sum(n) AS requests_sum
        FROM binned
        GROUP BY site, network
        HAVING peak >= 10 * {min_rate:Float64}
    ),
    past AS
    (
        SELECT site, network, arrayResize(groupArray(n), 60, toFloat64(0)) AS history
        FROM
        (
            SELECT site, network, bin, max(p) AS n
            FROM
            (
                SELECT site, probe, /*dhcp_network*/ AS network, intDiv(toInt64(toUnixTimestamp(start)), 10) AS bin, toFloat64(sum(src_packets)) AS p
                FROM flows
                WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 1 HOUR AND start < toDateTime({from:UInt32}, 'UTC') AND toSecond(start) < 10
                  AND protocol = 17 AND dst_port IN (67, 547) AND (site, network) IN (SELECT site, network FROM candidates)
                GROUP BY site, probe, network, bin
            )
            GROUP BY site, network, bin
        )
        GROUP BY site, network
    ),
    origins AS
    (
        SELECT site, network, uniqExact(src_ip) AS clients, uniqExact(src_mac) AS cards, min(start) AS first, max(end) AS last, groupArraySorted(5)(id) AS flow_ids
        FROM requests
        WHERE (site, network) IN (SELECT site, network FROM candidates)
        GROUP BY site, network
    ),
    judged AS
    (
        SELECT site, network, peak, requests_sum, clients, cards, first, last, flow_ids,
            if(empty(history), arrayResize([toFloat64(0)], 60, toFloat64(0)), history) AS before,
            arrayReduce('quantileExactInclusive(0.5)', before) AS base,
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - base), before)) AS mad,
            greatest(10 * {min_rate:Float64}, base + 6 * 1.4826 * mad) AS threshold
        FROM candidates LEFT JOIN past USING (site, network) INNER JOIN origins USING (site, network)
        WHERE peak >= threshold
    )
SELECT site, network, peak / 10 AS peak_rate, base / 10 AS base_rate, mad / 10 AS mad_rate, threshold / 10 AS threshold_rate, requests_sum, clients, cards, first, last, flow_ids,
    least(1, greatest(0, 0.5 + 0.25 * log10(peak / threshold))) AS rate
FROM judged
ORDER BY peak DESC, network, site
LIMIT 1000

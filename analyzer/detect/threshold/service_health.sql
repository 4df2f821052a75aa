-- How TCP services did in the hour from {from}, against the same hour of other
-- days: of the last 14, and of the same weekday of two weeks more. Measures, in this
-- order: time of the server, round trip to the client and to the server (95th
-- percentiles of connections, microseconds), segments lost on the side of the client
-- and of the server, closed windows of the client and of the server, and connections
-- that failed or had errors (shares). dst, port and site narrow it to one service.
WITH
    toStartOfHour(toDateTime({from:UInt32}, 'UTC')) AS this_hour,
    connections AS
    (
        SELECT toStartOfHour(start) AS hour, site, dst_ip, dst_port, src_ip, probe, start, end, app, /*flow_id*/ AS id,
            if(transactions > 0, transaction_mean_us, response_us) AS answer,
            if(answer > 0, toFloat64(greatest(toInt64(answer) - dst_rtt_us, 1)), 0) AS server_us, toFloat64(src_rtt_us) AS src_us, toFloat64(dst_rtt_us) AS dst_us,
            src_packets, dst_packets, toUInt64(dst_retransmits) + src_out_of_order AS client_lost, toUInt64(src_retransmits) + dst_out_of_order AS server_lost,
            src_zero_windows, dst_zero_windows,
            conn_state IN ('REJ', 'S0', 'RSTR', 'RSTRH') OR app_errors > 0 OR arrayExists(s -> s >= 500, http_statuses) OR http_status >= 500 AS bad
        FROM flows
        WHERE toStartOfHour(start) IN (SELECT toDateTime(this_hour - INTERVAL arrayJoin(arrayConcat(range(15), [21, 28])) DAY, 'UTC'))
          AND protocol = 6 AND NOT initiator_guessed AND segment = 0 AND aggregated_flows = 0
          AND ({dst:String} = '' OR dst_ip = toIPv6OrDefault({dst:String}) AND dst_port = {port:UInt16} AND site = {site:String})
    ),
    -- services that are used enough to be judged, read once
    (
        SELECT groupArray((site, dst_ip, dst_port)) FROM
        (
            SELECT site, dst_ip, dst_port
            FROM connections
            WHERE hour = this_hour
            GROUP BY site, dst_ip, dst_port
            HAVING count() >= {min_connections:UInt32}
        )
    ) AS services,
    now AS (SELECT s.1 AS site, s.2 AS dst_ip, s.3 AS dst_port FROM (SELECT arrayJoin(services) AS s)),
    hours AS
    (
        -- of several probes that see a service, the one that sees most
        SELECT hour, site, dst_ip, dst_port, argMax(m, (seen, probe)) AS measures, max(seen) AS n
        FROM
        (
            SELECT hour, site, dst_ip, dst_port, probe, count() AS seen, [
                quantileExactInclusiveIf(0.95)(server_us, server_us > 0), quantileExactInclusiveIf(0.95)(src_us, src_us > 0), quantileExactInclusiveIf(0.95)(dst_us, dst_us > 0),
                sum(client_lost) / greatest(1, sum(src_packets + dst_packets)), sum(server_lost) / greatest(1, sum(src_packets + dst_packets)),
                countIf(src_zero_windows > 0) / seen, countIf(dst_zero_windows > 0) / seen, countIf(bad) / seen] AS raw,
                arrayMap(x -> if(isNaN(x), 0, x), raw) AS m
            FROM connections
            WHERE (site, dst_ip, dst_port) IN (SELECT site, dst_ip, dst_port FROM now)
            GROUP BY hour, site, dst_ip, dst_port, probe
        )
        GROUP BY hour, site, dst_ip, dst_port
    ),
    compared AS
    (
        SELECT site, dst_ip, dst_port, maxIf(n, hour = this_hour) AS connections, anyIf(measures, hour = this_hour) AS observed,
            groupArrayIf(measures, hour < this_hour AND n >= {min_connections:UInt32} / 2 AND toDayOfWeek(hour) = toDayOfWeek(this_hour)) AS weeks,
            groupArrayIf(measures, hour < this_hour AND n >= {min_connections:UInt32} / 2) AS days,
            multiIf(length(weeks) >= 3, 'hour of week', length(days) >= 7, 'hour of day', 'learning') AS level,
            if(level = 'hour of week', weeks, days) AS used, length(used) AS samples,
            arrayMap(i -> arrayMap(m -> log1p(m[i] * {units:Array(Float64)}[i]), used), range(1, 9)) AS series,
            arrayMap(s -> if(empty(s), 0, arrayReduce('quantileExactInclusive(0.5)', s)), series) AS medians,
            arrayMap((s, median) -> if(empty(s), 0, arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - median), s))), series, medians) AS mads,
            arrayMap((x, unit, median, mad) -> (log1p(x * unit) - median) / greatest(1.4826 * mad, 0.25), observed, {units:Array(Float64)}, medians, mads) AS z,
            arrayMap((median, unit) -> (exp(median) - 1) / unit, medians, {units:Array(Float64)}) AS expected
        FROM hours
        GROUP BY site, dst_ip, dst_port
    ),
    -- of the measures of one client: how many clients are as bad
    clients AS
    (
        SELECT site, dst_ip, dst_port, count() AS clients, groupArray(src_median) AS medians_of_clients, groupArray(lost) AS losses_of_clients,
            argMax(src_ip, (src_median, src_ip)) AS slowest, min(first) AS first, max(last) AS last, any(app) AS app,
            arrayMap(x -> x.2, arraySlice(arraySort(arrayFlatten(groupArray(1000)(ids))), 1, 5)) AS flow_ids
        FROM
        (
            SELECT site, dst_ip, dst_port, src_ip, ifNotFinite(quantileExactInclusiveIf(0.5)(src_us, src_us > 0), 0) AS src_median,
                sum(client_lost) / greatest(1, sum(src_packets + dst_packets)) AS lost, min(start) AS first, max(end) AS last, max(app) AS app,
                groupArraySorted(5)((-toInt64(server_us + src_us + dst_us + 1000 * (client_lost + server_lost)), id)) AS ids
            FROM connections
            WHERE hour = this_hour AND (site, dst_ip, dst_port) IN (SELECT site, dst_ip, dst_port FROM now)
            GROUP BY site, dst_ip, dst_port, src_ip
            ORDER BY site, dst_ip, dst_port, src_ip
        )
        GROUP BY site, dst_ip, dst_port
    )
SELECT site, /*dst_text*/ AS dst, dst_port AS port, app, level, samples, connections, observed, expected, z,
    clients, toUInt64(arrayCount(x -> x > greatest(2 * expected[2], expected[2] + {min_delay:Float64}), medians_of_clients)) AS slow_clients,
    toUInt64(arrayCount(x -> x > greatest({min_loss:Float64}, 2 * expected[4]), losses_of_clients)) AS lossy_clients, replaceRegexpOne(toString(slowest), '^::ffff:', '') AS slowest_client, first, last, flow_ids,
    least(1, greatest(0, z[1] / 20)) AS server_time, least(1, greatest(0, z[2] / 20)) AS client_round_trip, least(1, greatest(0, z[3] / 20)) AS server_round_trip,
    least(1, greatest(0, z[4] / 20)) AS client_loss, least(1, greatest(0, z[5] / 20)) AS server_loss,
    least(1, greatest(0, z[6] / 20)) AS client_window, least(1, greatest(0, z[7] / 20)) AS server_window, least(1, greatest(0, z[8] / 20)) AS failures
FROM compared INNER JOIN clients USING (site, dst_ip, dst_port)
WHERE level = 'learning' OR arrayExists(x -> x >= {min_z:Float64}, z)
ORDER BY dst, port, site
LIMIT 10000

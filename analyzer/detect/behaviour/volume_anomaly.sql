-- Inside hosts that sent or received more in the hour from {from} than they do at
-- this hour of the week. IP octets, of the probe that saw most. host, direction
-- and site narrow it to one; an empty host means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    window_start - INTERVAL {history_days:UInt32} DAY AS past,
    hot AS
    (
        SELECT site, host, direction, max(octets) AS observed, min(first) AS first, max(last) AS last, sum(connections) AS connections,
            arraySlice(arraySort(arrayFlatten(groupArray(8)(ids))), 1, 5) AS flow_ids
        FROM
        (
            SELECT site, probe, side.1 AS host, side.2 AS direction, sum(side.3) AS octets, min(start) AS first, max(end) AS last,
                countIf(segment = 0) AS connections, arrayMap(x -> x.2, groupArraySorted(5)((-toInt64(side.3), /*flow_id*/))) AS ids
            FROM flows
            ARRAY JOIN [(src_ip, 'out', src_bytes), (src_ip, 'in', dst_bytes), (dst_ip, 'out', dst_bytes), (dst_ip, 'in', src_bytes)] AS side
            WHERE start >= window_start AND start < window_end
              AND ({host:String} = '' OR side.1 = toIPv6OrDefault({host:String}) AND side.2 = {direction:String} AND site = {site:String})
            GROUP BY site, probe, host, direction
        )
        WHERE arrayExists((a, b) -> host >= a AND host <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
        GROUP BY site, host, direction
        HAVING observed >= {min_bytes:UInt64}
    ),
    seen_hours AS
    (
        SELECT site, arraySort(groupUniqArray(toStartOfHour(start))) AS all_hours
        FROM flows
        WHERE start >= past AND start < window_start AND site IN (SELECT site FROM hot)
        GROUP BY site
    ),
    hourly AS
    (
        SELECT site, host, direction, groupArray(hour) AS active, groupArray(octets) AS amounts, min(hour) AS since
        FROM
        (
            SELECT site, host, direction, hour, max(octets) AS octets
            FROM
            (
                SELECT site, probe, side.1 AS host, side.2 AS direction, toStartOfHour(start) AS hour, sum(side.3) AS octets
                FROM flows
                ARRAY JOIN [(src_ip, 'out', src_bytes), (src_ip, 'in', dst_bytes), (dst_ip, 'out', dst_bytes), (dst_ip, 'in', src_bytes)] AS side
                WHERE start >= past AND start < window_start
                  AND (src_ip IN (SELECT host FROM hot) OR dst_ip IN (SELECT host FROM hot))
                  AND (site, side.1, side.2) IN (SELECT site, host, direction FROM hot)
                GROUP BY site, probe, host, direction, hour
            )
            GROUP BY site, host, direction, hour
        )
        GROUP BY site, host, direction
    ),
    series AS
    (
        SELECT hot.site AS site, hot.host AS host, hot.direction AS direction, hot.observed AS observed, hot.first AS first, hot.last AS last,
            hot.connections AS connections, hot.flow_ids AS flow_ids,
            if(empty(hourly.active), [], arrayFilter(h -> h >= hourly.since, seen_hours.all_hours)) AS hours,
            arrayMap(h -> if(indexOf(hourly.active, h) > 0, hourly.amounts[indexOf(hourly.active, h)], toUInt64(0)), hours) AS bytes
        FROM hot LEFT JOIN hourly ON hot.site = hourly.site AND hot.host = hourly.host AND hot.direction = hourly.direction
        LEFT JOIN seen_hours ON hot.site = seen_hours.site
    ),
    /*judged*/
SELECT site, replaceRegexpOne(toString(host), '^::ffff:', '') AS host_text, direction, observed, first, last, connections, flow_ids,
    level, samples, median, mad, z, ceiling, length(hours) AS past_hours,
    least(1, greatest(0, 0.5 + 0.5 * log2(greatest(z, 0.001) / {min_z:Float64}))) AS deviation,
    least(1, greatest(0, 0.5 + 0.25 * log10(observed / {min_bytes:UInt64}))) AS amount,
    if(observed > ceiling, 1 - ceiling / observed, 0) AS novelty
FROM judged
WHERE level = 'learning' OR z >= {min_z:Float64} AND observed > ceiling
ORDER BY z DESC, host_text, direction, site
LIMIT 10000

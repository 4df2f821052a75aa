-- Links that fill up: the busiest hour of each day, its trend (the median of the
-- slopes of all pairs of days, Theil and Sen), and when the line meets the share of the
-- capacity. name and site narrow it to one; an empty name means all that have a capacity.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    days AS
    (
        SELECT site, name, toInt32(dateDiff('day', toDate(window_start), toDate(hour))) AS day, max(octets) * 8 / 3600 AS rate
        FROM
        (
            SELECT site, toString(probe) AS name, hour, toFloat64(sum(sent_bytes + received_bytes)) AS octets
            FROM hosts_1h
            WHERE hour >= window_start - INTERVAL {history_days:UInt32} DAY AND hour < window_end AND role = 'initiator'
              AND has({links:Array(String)}, probe) AND ({name:String} = '' OR probe = {name:String} AND site = {site:String})
            GROUP BY site, name, hour
        )
        GROUP BY site, name, day
    ),
    trends AS
    (
        SELECT site, name, {capacities:Array(Float64)}[indexOf({links:Array(String)}, name)] AS capacity, arraySort(groupArray((day, rate))) AS points,
            length(points) AS count,
            arrayFlatten(arrayMap(a -> arrayMap(b -> (b.2 - a.2) / (b.1 - a.1), arrayFilter(b -> b.1 > a.1, points)), points)) AS slopes,
            if(empty(slopes), 0, arrayReduce('quantileExactInclusive(0.5)', slopes)) AS slope,
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(p -> p.2 - slope * p.1, points)) AS level,
            if(empty(slopes), 0, arrayCount(s -> s > 0, slopes) / length(slopes)) AS rising
        FROM days
        GROUP BY site, name
    )
SELECT site, name, capacity, toUInt64(count) AS days, level, slope, rising, {share:Float64} * capacity AS target,
    if(level >= target, 0, if(slope > 0, (target - level) / slope, inf)) AS days_left,
    least(1, level / target) AS load, greatest(0, 1 - days_left / {within_days:Float64}) AS urgency
FROM trends
WHERE count >= {warm_up_days:UInt32} AND (level >= target OR rising >= {min_rising:Float64} AND days_left <= {within_days:Float64})
ORDER BY days_left, site, name
LIMIT 1000

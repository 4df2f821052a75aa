-- Hours of [from, to) that are worth a look: some user was seen at an address, or
-- at an hour, as never before; or the hosts of some user did enough, and more than
-- on all but one of the whole days on which that user had them alone.
WITH
    toDateTime({from:DateTime('UTC')}) AS span_start,
    toDateTime({to:DateTime('UTC')}) - INTERVAL 1 HOUR AS sight_last,
    span_start - INTERVAL {known_days:Int64} DAY AS sight_first,
    span_start - INTERVAL {history_days:Int64} DAY AS past,
    sightings AS (/*sightings*/),
    firsts AS
    (
        SELECT at
        FROM
        (
            SELECT toInt64(toUnixTimestamp(hour)) AS at,
                min(at) OVER (PARTITION BY site, name) AS since,
                max(at) OVER (PARTITION BY site, name, ip ORDER BY at RANGE BETWEEN {known_s:Int64} PRECEDING AND {hold_s:Int64} PRECEDING) AS there,
                max(at) OVER (PARTITION BY site, name, toDayOfWeek(hour) ORDER BY at RANGE BETWEEN {known_s:Int64} PRECEDING AND {hold_s:Int64} PRECEDING) AS that_day,
                max(at) OVER (PARTITION BY site, name, toHour(hour) ORDER BY at RANGE BETWEEN {known_s:Int64} PRECEDING AND {hold_s:Int64} PRECEDING) AS that_hour
            FROM sightings
        )
        WHERE at >= toInt64(toUnixTimestamp(span_start)) AND since + 86400 * {warm_up_days:Int64} <= at AND (there = 0 OR that_day = 0 OR that_hour = 0)
    ),
    held AS
    (
        SELECT site, ip, toDateTime(at, 'UTC') AS hour, groupUniqArray(name) AS names
        FROM
        (
            SELECT site, ip, name, arrayJoin(arrayMap(i -> toUnixTimestamp(hour) + 3600 * i, range({hold_hours:UInt32}))) AS at
            FROM sightings
            WHERE hour >= past - INTERVAL {hold_hours:UInt32} HOUR
        )
        WHERE at >= toUnixTimestamp(past) AND at <= toUnixTimestamp(sight_last)
        GROUP BY site, ip, at
    ),
    profile AS
    (
        SELECT h.site AS site, arrayJoin(o.names) AS name, h.hour AS hour, arrayJoin(if(length(o.names) = 1, ['all', 'alone'], ['all'])) AS kind, sumForEach(h.v) AS v
        FROM
        (
            SELECT site, host, hour, /*features*/ AS v
            FROM hosts_1h
            WHERE hour >= past AND hour <= sight_last AND primary_observer AND arrayExists((a, b) -> host >= a AND host <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
            GROUP BY site, host, hour
        ) AS h
        INNER JOIN held AS o ON h.site = o.site AND h.host = o.ip AND h.hour = o.hour
        GROUP BY site, name, hour, kind
    ),
    busy AS
    (
        SELECT arrayJoin(arrayMap(x -> toInt64(toUnixTimestamp(x.1)), arrayFilter(
            x -> x.1 >= span_start AND x.2 >= {minimum:Array(UInt64)}[feature]
                 AND arrayCount(d -> d.1 < toDate(x.1) AND d.1 > toDate(x.1) - {history_days:Int64} AND {record:Float64} * d.2 >= x.2, days) <= 1,
            hours))) AS at
        FROM
        (
            SELECT site, name, feature, arrayFlatten(groupArray(hours)) AS hours, groupArray((day, peak)) AS days
            FROM
            (
                SELECT site, name, feature, toDate(hour) AS day, maxIf(value, kind = 'alone') AS peak, groupArrayIf((hour, value), kind = 'all') AS hours
                FROM profile
                ARRAY JOIN v AS value, arrayEnumerate(v) AS feature
                GROUP BY site, name, feature, day
            )
            GROUP BY site, name, feature
        )
    )
SELECT DISTINCT at AS w
FROM (SELECT at FROM firsts UNION ALL SELECT at FROM busy)
WHERE {overlap:UInt32} = 1 AND {step:Int64} = 3600
ORDER BY w

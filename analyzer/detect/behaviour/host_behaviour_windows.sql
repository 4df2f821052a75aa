-- Hours of [from, to) in which some inside host did enough, and more than on all
-- but one of the whole days of its history before: the others cannot be odd.
WITH
    toDateTime({from:DateTime('UTC')}) AS span_start,
    profile AS
    (
        SELECT site, host, hour, /*features*/ AS v
        FROM hosts_1h
        WHERE hour >= span_start - INTERVAL {history_days:Int64} DAY AND hour < {to:DateTime('UTC')} AND primary_observer AND {overlap:UInt32} = 1 AND {step:Int64} = 3600
          AND arrayExists((a, b) -> host >= a AND host <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
          AND NOT arrayExists((a, b) -> host >= a AND host <= b, {exempt_first:Array(IPv6)}, {exempt_last:Array(IPv6)})
        GROUP BY site, host, hour
    )
SELECT DISTINCT arrayJoin(arrayMap(x -> toInt64(toUnixTimestamp(x.1)), arrayFilter(
    x -> x.1 >= span_start AND x.2 >= {minimum:Array(UInt64)}[feature]
         AND arrayCount(d -> d.1 < toDate(x.1) AND d.1 > toDate(x.1) - {history_days:Int64} AND {record:Float64} * d.2 >= x.2, days) <= 1,
    hours))) AS w
FROM
(
    SELECT site, host, feature, arrayFlatten(groupArray(hours)) AS hours, groupArray((day, peak)) AS days
    FROM
    (
        SELECT site, host, feature, toDate(hour) AS day, max(value) AS peak, groupArray((hour, value)) AS hours
        FROM profile
        ARRAY JOIN v AS value, arrayEnumerate(v) AS feature
        GROUP BY site, host, feature, day
    )
    GROUP BY site, host, feature
)
ORDER BY w

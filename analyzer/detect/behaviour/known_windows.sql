-- Windows of [from, to) with traffic whose history is long enough to judge by.
WITH
    toDateTime({from:DateTime('UTC')}) AS span_start,
    (SELECT min(toUnixTimestamp(hour)) FROM hosts_1h WHERE hour >= span_start - INTERVAL {history_days:Int64} DAY) AS first_hour
SELECT DISTINCT w
FROM
(
    SELECT /*window_of_hour*/ AS w
    FROM hosts_1h
    WHERE hour >= span_start AND hour < {to:DateTime('UTC')}
)
WHERE w >= toInt64(toUnixTimestamp(span_start)) AND w >= toInt64(first_hour) + 86400 * {warm_up_days:Int64}
ORDER BY w

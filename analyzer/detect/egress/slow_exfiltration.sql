-- Days of octets from inside hosts to outside addresses that the site has called
-- for less than {new_days} days, as they add up: CUSUM of the daily payload octets
-- in units of min_bytes / 7, slack {slack}, alarm at {threshold}. The last of the
-- days is the window's, whose octets must raise the sum. Sums are of flows_1h, of
-- the primary observer.
-- src, dst and site narrow it to one pair; empty means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    window_start - INTERVAL {new_days:UInt32} DAY + INTERVAL 1 DAY AS past,
    {min_bytes:UInt64} / 7 AS unit,
    today AS
    (
        SELECT site, src_ip, dst_ip
        FROM flows_1h
        WHERE hour >= window_start AND hour < window_end AND primary_observer AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_ip = toIPv6OrDefault({dst:String}) AND site = {site:String})
        GROUP BY site, src_ip, dst_ip
        HAVING sum(src_payload_bytes) >= unit * {slack:Float64} AND sum(src_payload_bytes) >= {min_ratio:Float64} * sum(dst_payload_bytes)
    ),
    daily AS
    (
        SELECT site, src_ip, dst_ip, toStartOfDay(hour) AS day, sum(src_payload_bytes) AS day_sent, sum(dst_payload_bytes) AS day_got, uniqExact(hour) AS day_hours
        FROM flows_1h
        WHERE hour >= past AND hour < window_end AND primary_observer AND src_ip IN (SELECT src_ip FROM today) AND dst_ip IN (SELECT dst_ip FROM today)
          AND (site, src_ip, dst_ip) IN (SELECT site, src_ip, dst_ip FROM today)
        GROUP BY site, src_ip, dst_ip, day
    ),
    -- any inside host's earlier contact makes the destination an old one
    old AS
    (
        SELECT DISTINCT site, dst_ip
        FROM flows_1h
        WHERE hour >= past - INTERVAL 16 DAY AND hour < past AND dst_ip IN (SELECT dst_ip FROM today) AND /*src_inside*/
    ),
    callers AS
    (
        SELECT site, dst_ip, uniqExact(src_ip) AS hosts
        FROM flows_1h
        WHERE hour >= past AND hour < window_end AND dst_ip IN (SELECT dst_ip FROM today) AND /*src_inside*/
        GROUP BY site, dst_ip
    ),
    history AS (SELECT site, min(hour) AS since FROM hosts_1h WHERE hour >= past - INTERVAL 1 DAY AND hour < window_end GROUP BY site),
    sums AS
    (
        SELECT site, src_ip, dst_ip, arraySort(x -> x.1, groupArray((day, day_sent))) AS days, sum(day_sent) AS sent, sum(day_got) AS got, sum(day_hours) AS active_hours, count() AS active_days, max(day_sent) AS top_day,
            -- empty days take the slack away too
            arrayMap(i -> (past + toIntervalDay(i)), range({new_days:UInt32})) AS calendar,
            arrayMap(d -> arraySum(x -> if(x.1 = d, x.2, 0), days) / unit, calendar) AS amounts,
            arrayFold((s, x) -> greatest(toFloat64(0), s + x - {slack:Float64}), amounts, toFloat64(0)) AS cusum
        FROM daily
        GROUP BY site, src_ip, dst_ip
    ),
    samples AS
    (
        SELECT site, src_ip, dst_ip, min(start) AS first, max(end) AS last, arrayMap(x -> x.2, groupArraySorted(5)((-toInt64(src_payload_bytes), /*flow_id*/))) AS flow_ids
        FROM flows
        WHERE start >= window_start AND start < window_end AND src_ip IN (SELECT src_ip FROM today) AND (site, src_ip, dst_ip) IN (SELECT site, src_ip, dst_ip FROM today)
          AND src_role != 'backup' AND dst_role NOT IN ('backup', 'cloud')
        GROUP BY site, src_ip, dst_ip
    )
SELECT s.site AS site, replaceRegexpOne(toString(s.src_ip), '^::ffff:', '') AS src, replaceRegexpOne(toString(s.dst_ip), '^::ffff:', '') AS dst,
    s.sent AS sent, s.got AS got, s.active_days AS active_days, s.active_hours AS active_hours, s.top_day AS top_day, s.cusum AS cusum, c.hosts AS hosts,
    samples.first AS first, samples.last AS last, samples.flow_ids AS flow_ids, toBool(h.since >= past) AS learning,
    least(1, greatest(0, 0.5 + 0.25 * log2(s.cusum / {threshold:Float64}))) AS persistence,
    least(1, greatest(0, 0.5 + 0.25 * log10(s.sent / {min_bytes:UInt64}))) AS amount,
    least(1, log10(1 + s.sent / greatest(1, s.got)) / 3) AS one_way
FROM sums AS s
INNER JOIN samples ON samples.site = s.site AND samples.src_ip = s.src_ip AND samples.dst_ip = s.dst_ip
INNER JOIN callers AS c ON c.site = s.site AND c.dst_ip = s.dst_ip
INNER JOIN history AS h ON h.site = s.site
WHERE s.cusum >= {threshold:Float64} AND s.sent >= {min_bytes:UInt64} AND s.sent >= {min_ratio:Float64} * s.got AND s.top_day < {max_day_bytes:UInt64}
  AND c.hosts <= 2 AND (s.site, s.dst_ip) NOT IN (SELECT site, dst_ip FROM old)
ORDER BY s.sent DESC, src, dst, site
LIMIT 1000

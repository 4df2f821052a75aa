-- Inside hosts that call one port of one outside host again and again, which
-- refuses or does not answer, in [from, to), and never answered before.
-- src, dst, port and site narrow it to one; an empty src means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    window_start - INTERVAL {history_days:UInt32} DAY AS past,
    calls AS
    (
        SELECT site, src_ip, dst_ip, dst_port, max(n) AS attempts, max(a) AS answered, max(r) AS refused, min(f) AS first, max(l) AS last, max(m) AS minutes,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids
        FROM
        (
            SELECT site, probe, src_ip, dst_ip, dst_port, countIf(/*failed*/) AS n, countIf(dst_payload_bytes > 0) AS a, countIf(conn_state = 'REJ') AS r, min(start) AS f, max(end) AS l,
                uniqExact(toStartOfMinute(start)) AS m, groupArraySorted(5)(/*flow_id*/) AS i
            FROM flows
            WHERE start >= window_start AND start < window_end AND protocol = 6 AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/ AND app != 'bittorrent'
              AND dst_port NOT IN (25, 53, 80, 443, 853, 5222, 5223, 5228) AND src_role NOT IN ('scanner', 'monitor', 'proxy', 'nat', 'gateway') AND NOT /*exempt*/
              AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_ip = toIPv6OrDefault({dst:String}) AND dst_port = {port:UInt16} AND site = {site:String})
            GROUP BY site, probe, src_ip, dst_ip, dst_port
        )
        GROUP BY site, src_ip, dst_ip, dst_port
        HAVING attempts >= {min_attempts:UInt32} AND answered <= {max_answered:Float64} * (attempts + answered)
    ),
    -- a service that has answered somebody is down now, no more
    served AS
    (
        SELECT site, dst_ip, dst_port
        FROM flows_1h
        WHERE hour >= past AND hour < window_end AND dst_ip IN (SELECT dst_ip FROM calls) AND protocol = 6
        GROUP BY site, dst_ip, dst_port
        HAVING sum(dst_payload_bytes) > 0
    ),
    callers AS
    (
        SELECT site, dst_ip, uniqExact(src_ip) AS hosts
        FROM flows_1h
        WHERE hour >= past AND hour < window_end AND dst_ip IN (SELECT dst_ip FROM calls) AND /*src_inside*/
        GROUP BY site, dst_ip
    ),
    width AS
    (
        SELECT site, src_ip, uniqExact(dst_ip) AS targets FROM calls GROUP BY site, src_ip
    )
SELECT c.site AS site, replaceRegexpOne(toString(c.src_ip), '^::ffff:', '') AS src, replaceRegexpOne(toString(c.dst_ip), '^::ffff:', '') AS dst, c.dst_port AS port,
    c.attempts AS attempts, c.answered AS answered, c.refused AS refused, c.minutes AS minutes, callers.hosts AS hosts, c.first AS first, c.last AS last, c.flow_ids AS flow_ids,
    least(1, greatest(0, 0.5 + 0.25 * log10(c.attempts / {min_attempts:UInt32}))) AS insistence,
    1. / greatest(1, callers.hosts) AS rarity
FROM calls AS c
INNER JOIN callers ON callers.site = c.site AND callers.dst_ip = c.dst_ip
INNER JOIN width ON width.site = c.site AND width.src_ip = c.src_ip
WHERE (c.site, c.dst_ip, c.dst_port) NOT IN (SELECT site, dst_ip, dst_port FROM served) AND callers.hosts <= 3
  AND (width.targets <= 5 OR {src:String} != '')
ORDER BY attempts DESC, src, dst, port, site
LIMIT 1000

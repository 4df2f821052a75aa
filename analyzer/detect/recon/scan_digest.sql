-- Sources outside that scanned a site in [from, to), a day: many ports of a host
-- in ten minutes, one port of many hosts, or many hosts and ports in 24 hours
-- that end within the day (reckoned in 30 hours, every 6, so that none is missed),
-- few of which answered. site narrows it to one (one: 1); one 0 means all.
WITH
contacts AS
(
    SELECT site, src_ip, dst_ip, protocol, dst_port, toStartOfInterval(start, INTERVAL 6 HOUR, 'UTC') AS part,
        countIf(failed) AS failures, countIf(open) > 0 AS answered,
        minIf(start, failed) AS first_failure, maxIf(end, failed) AS last_failure,
        groupArraySortedIf(1)(id, failed) AS ids
    FROM
    (
        SELECT site, src_ip, dst_ip, protocol, dst_port, start, end, /*failed*/ AS failed, /*open*/ AS open, /*flow_id*/ AS id
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 DAY AND start < {to:DateTime('UTC')} AND ({one:UInt8} = 0 OR site = {site:String})
          AND src_ip IN
          (
              SELECT src_ip
              FROM flows_1h
              WHERE hour >= {from:DateTime('UTC')} - INTERVAL 1 DAY AND hour < {to:DateTime('UTC')} AND failed > 0
                AND protocol IN (6, 17, 132) AND NOT /*src_inside*/ AND /*dst_inside*/ AND NOT /*exempt*/
              GROUP BY site, src_ip
              HAVING uniqExact((dst_ip, protocol, dst_port)) >= least({min_ports:UInt32}, {min_targets:UInt32}, {min_hosts:UInt32})
          )
          AND protocol IN (6, 17, 132) AND (failed OR open) AND /*dst_inside*/ AND /*unicast*/ AND /*purposeful*/ AND src_role NOT IN ('scanner', 'monitor')
    )
    GROUP BY site, src_ip, dst_ip, protocol, dst_port, part
),
slow AS
(
    SELECT site, src_ip, max(failing) AS targets
    FROM
    (
        SELECT site, src_ip, until, uniqExactIf((dst_ip, protocol, dst_port), failures > 0) AS failing, uniqExactIf((dst_ip, protocol, dst_port), answered) AS good,
            uniqExact((dst_ip, protocol, dst_port)) AS tried
        FROM
        (
            SELECT *, addHours(part, arrayJoin([6, 12, 18, 24, 30])) AS until
            FROM contacts
        )
        WHERE until > {from:DateTime('UTC')} AND until <= {to:DateTime('UTC')}
        GROUP BY site, src_ip, until
        HAVING failing >= {min_targets:UInt32} AND 5 * good <= tried
    )
    GROUP BY site, src_ip
),
quick AS
(
    SELECT DISTINCT site, src_ip
    FROM
    (
        SELECT site, src_ip, dst_ip, addMinutes(toStartOfFiveMinutes(start), arrayJoin([0, 5])) AS until
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND ({one:UInt8} = 0 OR site = {site:String})
          AND src_ip IN (SELECT src_ip FROM contacts) AND protocol IN (6, 17, 132) AND /*failed*/ AND /*dst_inside*/ AND /*unicast*/ AND /*purposeful*/
        GROUP BY site, src_ip, dst_ip, until
        HAVING uniqExact((protocol, dst_port)) >= {min_ports:UInt32}
    )
    UNION DISTINCT
    SELECT site, src_ip
    FROM contacts
    WHERE part >= {from:DateTime('UTC')} AND failures > 0
    GROUP BY site, src_ip, protocol, dst_port
    HAVING uniqExact(dst_ip) >= {min_hosts:UInt32}
),
sources AS
(
    SELECT site, src_ip, any(/*src_text*/) AS src,
        uniqExactIf((dst_ip, protocol, dst_port), failures > 0) AS targets, uniqExactIf((dst_ip, protocol, dst_port), answered) AS open_targets,
        sum(failures) AS attempts, uniqExactStateIf(dst_ip, failures > 0) AS hosts,
        minIf(first_failure, failures > 0) AS first_at, maxIf(last_failure, failures > 0) AS last_at,
        arraySlice(arraySort(arrayFlatten(groupArrayIf(64)(ids, failures > 0))), 1, 1) AS ids_here
    FROM contacts
    WHERE part >= {from:DateTime('UTC')} AND ((site, src_ip) IN (SELECT site, src_ip FROM slow) OR (site, src_ip) IN (SELECT site, src_ip FROM quick))
    GROUP BY site, src_ip
    HAVING targets > 0
),
services AS
(
    SELECT site, arrayMap(x -> concat(toString(x.3), transform(x.2, [6, 17, 132], ['/tcp', '/udp', '/sctp'], ''), ' (', toString(-x.1), ' sources)'),
        arraySlice(arraySort(groupArray((-toInt64(scanners), protocol, dst_port))), 1, 10)) AS top_ports
    FROM
    (
        SELECT site, protocol, dst_port, uniqExact(src_ip) AS scanners
        FROM contacts
        WHERE part >= {from:DateTime('UTC')} AND failures > 0 AND (site, src_ip) IN (SELECT site, src_ip FROM sources)
        GROUP BY site, protocol, dst_port
    )
    GROUP BY site
)
SELECT s.site AS site, count() AS source_count, countIf((s.site, s.src_ip) IN (SELECT site, src_ip FROM slow)) AS slow_count,
    sum(s.targets) AS target_count, sum(s.attempts) AS attempt_count, uniqExactMerge(s.hosts) AS host_count,
    countIf(s.open_targets > 0) AS met_open, any(services.top_ports) AS port_sample,
    arrayMap(x -> concat(x.2, ' (', toString(-x.1), ' targets)'), arraySlice(arraySort(groupArray((-toInt64(s.targets), s.src))), 1, 10)) AS top_sources,
    arraySort(groupArrayIf(100000)(s.src, (s.site, s.src_ip) IN (SELECT site, src_ip FROM slow))) AS slow_scanners,
    arraySort(groupArray(100000)(s.src)) AS scanners,
    min(s.first_at) AS first, max(s.last_at) AS last,
    arraySlice(arraySort(arrayFlatten(groupArray(s.ids_here))), 1, 5) AS flow_ids,
    least(1, 0.1 + 0.1 * log10(source_count)) AS volume
FROM sources AS s LEFT JOIN services ON s.site = services.site
GROUP BY s.site
ORDER BY site
LIMIT 10000

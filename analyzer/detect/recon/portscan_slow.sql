-- Inside sources that tried many hosts and ports without an answer, a few at a
-- time, in [from, to): targets of ten minutes in which it tried as many as a
-- quick scan are not counted. src and site narrow it to one source; an empty src
-- means all. Peers of file sharing networks: see portscan_horizontal.sql.
SELECT site, /*src_text*/ AS src,
    count() AS tried,
    countIf(failing AND calm AND NOT (dst_port >= 1024 AND shares)) AS targets,
    uniqExactIf(dst_ip, failing AND calm) AS hosts,
    uniqExactIf((protocol, dst_port), failing AND calm) AS services,
    countIf(answered) AS answered_targets,
    countIf(failing AND NOT calm) AS quick_targets,
    sumIf(failures, failing AND calm) AS attempts,
    uniqExactIf(toStartOfHour(first_failure), failing AND calm) AS busy_hours,
    replaceRegexpOne(toString(minIf(dst_ip, failing AND calm)), '^::ffff:', '') AS lowest,
    replaceRegexpOne(toString(maxIf(dst_ip, failing AND calm)), '^::ffff:', '') AS highest,
    arrayMap(x -> concat(toString(x.2), transform(x.1, [6, 17, 132], ['/tcp', '/udp', '/sctp'], '')), arraySlice(arraySort(groupUniqArrayIf(65536)((protocol, dst_port), failing AND calm)), 1, 8)) AS service_sample,
    minIf(first_failure, failing AND calm) AS first, maxIf(last_failure, failing AND calm) AS last,
    arraySlice(arraySort(arrayFlatten(groupArrayIf(256)(ids, failing AND calm))), 1, 5) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(targets / {min_targets:UInt32})) AS breadth,
    1 - answered_targets / tried AS failure
FROM
(
    SELECT *,
        uniqExactIf((dst_ip), dst_port >= 1024) OVER of_source AS high_hosts,
        countIf(dst_port >= 1024) OVER of_source AS high_targets,
        uniqExactIf(dst_port, dst_port >= 1024) OVER of_source AS high_ports,
        countIf(answered AND dst_port >= 1024) OVER of_source AS high_answers,
        high_hosts >= 15 AND high_targets <= 2 * high_hosts AND high_ports >= 0.3 * high_hosts AND high_answers > 0 AS shares,
        countIf(failing) OVER (PARTITION BY site, src_ip, toStartOfTenMinutes(first_failure)) < {quick:UInt32} AS calm
    FROM
    (
        SELECT site, src_ip, dst_ip, protocol, dst_port,
            countIf(failed) AS failures, countIf(open) > 0 AS answered, failures > 0 AND NOT answered AS failing,
            minIf(start, failed) AS first_failure, maxIf(end, failed) AS last_failure,
            groupArraySortedIf(1)(id, failed) AS ids
        FROM
        (
            SELECT site, src_ip, dst_ip, protocol, dst_port, start, end, /*failed*/ AS failed, /*open*/ AS open, /*flow_id*/ AS id
            FROM flows
            WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
              AND src_ip IN
              (
                  SELECT src_ip
                  FROM flows_1h
                  WHERE hour >= {from:DateTime('UTC')} AND hour < {to:DateTime('UTC')} AND failed > 0
                    AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND site = {site:String})
                    AND protocol IN (6, 17, 132) AND /*src_inside*/ AND NOT /*exempt*/ AND /*unicast*/
                    AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
                  GROUP BY site, src_ip
                  HAVING uniqExact((dst_ip, protocol, dst_port)) >= {min_targets:UInt32}
              )
              AND ({src:String} = '' OR site = {site:String})
              AND protocol IN (6, 17, 132) AND (failed OR open) AND /*unicast*/ AND /*purposeful*/ AND src_role NOT IN ('scanner', 'monitor')
              AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
        )
        GROUP BY site, src_ip, dst_ip, protocol, dst_port
    )
    WINDOW of_source AS (PARTITION BY site, src_ip)
)
GROUP BY site, src_ip
HAVING targets >= {min_targets:UInt32} AND 5 * answered_targets <= tried
ORDER BY targets DESC, src, site
LIMIT 10000

-- Hosts that were contacted on a port by a source that sweeps this port, and
-- then swept it themselves, by port, in [from, to) and the hour before. protocol,
-- port and site narrow it to one port; port 0 means all.
WITH sweeps AS
(
    SELECT site, src_ip, protocol, dst_port, minIf(start, failed) AS begins, maxIf(end, failed) AS ends,
        uniqExactIf(dst_ip, failed) AS failed_hosts,
        groupUniqArrayIf(4096)((dst_ip, begin_open), open) AS contacts,
        groupArraySortedIf(5)(id, failed) AS ids
    FROM
    (
        SELECT *, minIf(start, open) OVER (PARTITION BY site, src_ip, dst_ip, protocol, dst_port) AS begin_open
        FROM
        (
            SELECT site, src_ip, dst_ip, protocol, dst_port, start, end, /*failed*/ AS failed, /*open*/ AS open, /*flow_id*/ AS id
            FROM flows
            WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 HOUR AND start < {to:DateTime('UTC')}
              AND ({port:UInt16} = 0 OR protocol = {protocol:UInt8} AND dst_port = {port:UInt16} AND site = {site:String})
              AND protocol IN (6, 17, 132) AND (failed OR open) AND /*unicast*/ AND /*purposeful*/ AND src_role NOT IN ('scanner', 'monitor')
              AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
              AND (site, src_ip, protocol, dst_port) IN
              (
                  SELECT site, src_ip, protocol, dst_port
                  FROM flows
                  WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 HOUR AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND (/*failed*/ OR /*open*/) AND /*unicast*/
                  GROUP BY site, src_ip, protocol, dst_port
                  HAVING uniqExactIf(dst_ip, /*failed*/) >= {min_hosts:UInt32} AND uniqExactIf(dst_ip, /*failed*/) / uniqExact(dst_ip) >= {min_share:Float64}
              )
        )
        WHERE NOT /*exempt*/
    )
    GROUP BY site, src_ip, protocol, dst_port
    HAVING failed_hosts >= {min_hosts:UInt32}
)
SELECT site, protocol, dst_port AS port,
    uniqExact(from_ip, to_ip) AS links,
    length(arrayDistinct(arrayConcat(groupArray(from_ip), groupArray(to_ip)))) AS members,
    replaceRegexpOne(toString(argMin(from_ip, (from_begins, from_ip))), '^::ffff:', '') AS patient_zero,
    arraySlice(arrayMap(x -> concat(replaceRegexpOne(toString(x.2), '^::ffff:', ''), ' → ', replaceRegexpOne(toString(x.3), '^::ffff:', ''), ' at ', formatDateTime(x.1, '%H:%i:%S')),
        arraySort(groupUniqArray(4096)((contact, from_ip, to_ip)))), 1, 16) AS chain,
    sum(to_failed) AS swept,
    min(contact) AS first, max(to_ends) AS last,
    arraySlice(arraySort(arrayFlatten(groupArray(to_ids))), 1, 5) AS flow_ids,
    least(1, 0.6 + 0.2 * log2(links)) AS spread,
    least(1, swept / links / 50) AS breadth
FROM
(
    SELECT a.site AS site, a.protocol AS protocol, a.dst_port AS dst_port, a.src_ip AS from_ip, a.begins AS from_begins, b.src_ip AS to_ip,
        a.contact.2 AS contact, b.ends AS to_ends, b.failed_hosts AS to_failed, b.ids AS to_ids, b.begins AS to_begins
    FROM (SELECT site, src_ip, protocol, dst_port, begins, arrayJoin(contacts) AS contact, contact.1 AS contacted FROM sweeps) AS a
    INNER JOIN sweeps AS b ON a.site = b.site AND a.protocol = b.protocol AND a.dst_port = b.dst_port AND a.contacted = b.src_ip
    WHERE a.src_ip != b.src_ip
)
WHERE contact <= to_begins AND from_begins <= to_begins
GROUP BY site, protocol, dst_port
HAVING last >= {from:DateTime('UTC')}
ORDER BY links DESC, protocol, port, site
LIMIT 1000

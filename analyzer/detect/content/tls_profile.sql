-- Clients with a JA4 that is new to the site, which ask for a server name that others
-- have long asked for with other ones, in [from, to): one row for a name and a JA4.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    toDateTime({from:UInt32}, 'UTC') - INTERVAL {history_days:UInt32} DAY AS history_start,
    -- fingerprints that are young here
    young AS
    (
        SELECT site, value AS fingerprint, min(first) AS since
        FROM first_seen
        WHERE kind = 'ja4'
        GROUP BY site, fingerprint
        HAVING since >= window_start - INTERVAL {young_days:UInt32} DAY
    ),
    asked AS
    (
        SELECT site, name, print, max(n) AS connections, max(c) AS clients, max(b) AS bytes, min(w) AS client, min(v) AS server, min(f) AS first, max(l) AS last,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids, groupUniqArrayArray(places) AS servers
        FROM
        (
            SELECT site, probe, lower(tls_sni) AS name, toString(ja4) AS print, count() AS n, uniqExact(src_ip) AS c, sum(src_bytes + dst_bytes) AS b, min(/*src_text*/) AS w, min(/*dst_text*/) AS v,
                min(start) AS f, max(end) AS l, groupArraySorted(5)(/*flow_id*/) AS i, groupUniqArray(1000)(substring(hex(dst_ip), 1, if(dst_ip < toIPv6('::ffff:0.0.0.0') OR dst_ip > toIPv6('::ffff:255.255.255.255'), 12, 28))) AS places
            FROM flows
            WHERE start >= window_start AND start < window_end AND segment = 0 AND ja4 != '' AND tls_sni != '' AND dst_payload_bytes > 0 AND /*src_inside*/
              AND (site, toString(ja4)) IN (SELECT site, fingerprint FROM young)
              AND src_role NOT IN ('scanner', 'monitor', 'lab') AND NOT /*exempt*/
            GROUP BY site, probe, name, print
        )
        GROUP BY site, name, print
    ),
    -- the profile of each of these names
    past AS
    (
        SELECT site, name, groupUniqArrayIf(64)(toString(ja4), ja4 != '') AS prints, uniqExact(src_ip) AS who, uniqExact(toDate(hour)) AS days, sum(connections) AS calls,
            groupUniqArray(1000)(substring(hex(dst_ip), 1, if(dst_ip < toIPv6('::ffff:0.0.0.0') OR dst_ip > toIPv6('::ffff:255.255.255.255'), 12, 28))) AS places
        FROM beacons_1h
        WHERE hour >= history_start AND hour < window_start AND primary_observer AND name IN (SELECT name FROM asked)
        GROUP BY site, name
    ),
    rows AS
    (
        SELECT a.site AS site, a.name AS name, a.print AS print, a.connections AS connections, a.clients AS clients, a.bytes AS bytes, a.client AS client, a.server AS server, a.first AS first, a.last AS last,
            a.flow_ids AS flow_ids, arraySort(p.prints) AS prints, p.who AS who, p.days AS days, p.calls AS calls,
            NOT hasAny(a.servers, p.places) AS elsewhere,
            -- how far the nearest JA4 of the profile is: protocols, hashes, counts, version
            arrayMin(arrayMap(q -> least(1,
                0.4 * (substring(q, 9, 2) != substring(print, 9, 2)) + 0.2 * (substring(q, 12, 12) != substring(print, 12, 12)) + 0.15 * (substring(q, 25, 12) != substring(print, 25, 12))
                + 0.15 * (substring(q, 2, 2) != substring(print, 2, 2))
                + 0.15 * (abs(toInt32OrZero(substring(q, 5, 2)) - toInt32OrZero(substring(print, 5, 2))) > 3) + 0.15 * (abs(toInt32OrZero(substring(q, 7, 2)) - toInt32OrZero(substring(print, 7, 2))) > 3)), p.prints)) AS distance
        FROM asked AS a
        INNER JOIN past AS p ON p.site = a.site AND p.name = a.name
        WHERE notEmpty(p.prints) AND p.who >= {min_clients:UInt32} AND p.days >= 3 AND length(p.prints) < 64 AND NOT has(p.prints, a.print)
          -- of one transport only: QUIC and TCP do not compare
          AND arrayExists(q -> substring(q, 1, 1) = substring(a.print, 1, 1), p.prints)
    )
SELECT site, name, print, connections, clients, bytes, client, server, first, last, flow_ids, arraySlice(prints, 1, 8) AS prints, who, days, calls, elsewhere, distance, 1. / clients AS rarity
FROM rows
WHERE distance >= {min_distance:Float64} AND clients <= {max_clients:UInt32}
  AND ({one:UInt8} = 0 OR name = {name:String} AND print = {print:String} AND site = {site:String})
ORDER BY site, name, print
LIMIT 1000

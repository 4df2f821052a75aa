-- Services of inside hosts that answered for the first time in [from, to), on
-- hosts that were known before.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    history AS (SELECT site, min(first) AS since FROM first_seen WHERE kind = 'host' GROUP BY site),
    fresh AS
    (
        SELECT site, value, splitByChar(' ', value) AS words, words[1] AS host, toIPv6OrDefault(host) AS dst_ip, splitByChar('/', words[2]) AS service,
            toUInt8OrZero(service[1]) AS protocol, toUInt16OrZero(service[2]) AS dst_port, min(f.first) AS appeared
        FROM first_seen AS f
        WHERE kind = 'service'
        GROUP BY site, value
        HAVING appeared >= window_start AND appeared < window_end AND /*dst_inside*/ AND protocol IN (6, 17, 132)
           AND (dst_port < 32768 AND protocol = 6 OR dst_port < 10000 AND protocol = 17 AND dst_port >= 1)
    ),
    aged AS
    (
        SELECT site, value AS host, min(f.first) AS since FROM first_seen AS f WHERE kind = 'host' AND value IN (SELECT host FROM fresh) GROUP BY site, value
    ),
    -- a host that opens a new port every hour, as RPC, FTP and peer-to-peer do
    width AS
    (
        SELECT site, splitByChar(' ', value)[1] AS host, count() AS services
        FROM (SELECT DISTINCT site, value FROM first_seen WHERE kind = 'service' AND last >= window_start - INTERVAL 7 DAY)
        WHERE host IN (SELECT host FROM fresh)
        GROUP BY site, host
    ),
    traffic AS
    (
        SELECT site, dst_ip, protocol, dst_port, max(n) AS connections, max(c) AS clients, max(o) AS outside, max(w) AS workers, max(b) AS bytes, min(f) AS first, max(l) AS last, max(a) AS app, max(r) AS role,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS ids
        FROM
        (
            SELECT site, probe, dst_ip, protocol, dst_port, count() AS n, uniqExact(src_ip) AS c, uniqExactIf(src_ip, NOT /*src_inside*/) AS o,
                uniqExactIf(src_ip, src_role NOT IN /*operators*/) AS w, sum(src_bytes + dst_bytes) AS b,
                min(start) AS f, max(end) AS l, max(toString(app)) AS a, max(toString(dst_role)) AS r, groupArraySorted(5)(/*flow_id*/) AS i
            FROM flows
            WHERE start >= window_start AND start < window_end AND (dst_ip, protocol, dst_port) IN (SELECT dst_ip, protocol, dst_port FROM fresh)
              AND /*open*/ AND app NOT IN ('ftp_data', 'rtp', 'rtcp', 'bittorrent', 'tftp')
            GROUP BY site, probe, dst_ip, protocol, dst_port
        )
        GROUP BY site, dst_ip, protocol, dst_port
    )
SELECT f.site AS site, '' AS actor, f.host AS victim, concat(toString(f.dst_port), '/', transform(f.protocol, [6, 17, 132], ['tcp', 'udp', 'sctp'], '')) AS value,
    arrayFilter(x -> x != '', [if(t.app != '', concat('it speaks ', t.app), ''), concat(toString(t.connections), ' connections of ', toString(t.clients), ' clients'),
        if(t.outside > 0, concat(toString(t.outside), ' of them outside'), '')]) AS details,
    toFloat64(t.connections) AS amount, t.outside AS hosts, t.bytes AS bytes, toBool(h.since > window_start - INTERVAL {grace_days:UInt32} DAY) AS learning,
    t.first AS first, t.last AS last, t.ids AS flow_ids,
    least(1, 0.2 + if(t.outside > 0, 0.4, 0) + if(t.workers > 1 AND f.dst_port IN (22, 23, 135, 139, 445, 3389, 5900, 5985, 5986, 4444, 1080, 3128, 8080), 0.3, 0)) AS strength,
    1. / w.services AS rarity
FROM fresh AS f
INNER JOIN traffic AS t ON t.site = f.site AND t.dst_ip = f.dst_ip AND t.protocol = f.protocol AND t.dst_port = f.dst_port
INNER JOIN history AS h ON h.site = f.site
INNER JOIN aged AS a ON a.site = f.site AND a.host = f.host
INNER JOIN width AS w ON w.site = f.site AND w.host = f.host
WHERE NOT learning AND a.since <= window_start - INTERVAL 1 DAY AND w.services <= 20 AND t.role NOT IN ('server', 'dmz', 'lab', 'scanner')
  AND ({one:UInt8} = 0 OR f.host = {victim:String} AND value = {value:String} AND f.site = {site:String})
ORDER BY victim, value, site
LIMIT {limit:UInt32}

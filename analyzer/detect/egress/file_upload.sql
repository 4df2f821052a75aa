-- Inside hosts that gave a file to an outside FTP server, or mail to an outside
-- mail server, that no inside host had talked to before, in [from, to).
-- src, dst and site narrow it to one pair; empty means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    window_start - INTERVAL {history_days:UInt32} DAY AS past,
    control AS
    (
        SELECT site, probe, src_ip, dst_ip, dst_port, toString(app) AS carrier, start, end, src_payload_bytes AS bytes, user, /*flow_id*/ AS id,
            arrayFilter(r -> match(r, '^(STOR|APPE|STOU)'), app_requests) AS files,
            arrayCount(r -> startsWith(r, 'DATA') OR startsWith(r, 'BDAT'), app_requests) AS mails
        FROM flows
        WHERE start >= window_start AND start < window_end AND app IN ('ftp', 'smtp') AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/
          AND src_role NOT IN ('mail', 'gateway', 'proxy', 'backup', 'nat')
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_ip = toIPv6OrDefault({dst:String}) AND site = {site:String})
    ),
    uploads AS
    (
        SELECT site, src_ip, dst_ip, max(n) AS pieces, max(b) AS control_bytes, min(f) AS first, max(l) AS last, max(c) AS carrier, max(u) AS user,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(w)))), 1, 5) AS what, arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids
        FROM
        (
            SELECT site, probe, src_ip, dst_ip, sum(length(files) + mails) AS n, sumIf(bytes, mails > 0) AS b, min(start) AS f, max(end) AS l, max(carrier) AS c, max(user) AS u,
                arraySlice(arraySort(groupUniqArrayArray(files)), 1, 8) AS w, groupArraySorted(5)(id) AS i
            FROM control
            GROUP BY site, probe, src_ip, dst_ip
        )
        GROUP BY site, src_ip, dst_ip
        HAVING pieces > 0
    ),
    data AS
    (
        SELECT site, host AS src_ip, peer AS dst_ip, max(b) AS bytes
        FROM
        (
            SELECT site, probe, host, peer, sum(n) AS b
            FROM
            (
                SELECT site, probe, /*src_inside*/ AS out, if(out, src_ip, dst_ip) AS host, if(out, dst_ip, src_ip) AS peer, if(out, src_payload_bytes, dst_payload_bytes) AS n
                FROM flows
                WHERE start >= window_start AND start < window_end + INTERVAL 5 MINUTE AND app = 'ftp_data'
            )
            GROUP BY site, probe, host, peer
        )
        GROUP BY site, host, peer
    ),
    -- before the window: who knew the server, and who sends mail every day
    before AS
    (
        SELECT DISTINCT site, dst_ip FROM flows_1h
        WHERE hour >= past AND hour < window_start AND dst_ip IN (SELECT dst_ip FROM uploads) AND dst_payload_bytes > 0
    ),
    senders AS
    (
        SELECT site, src_ip, uniqExact(dst_ip) AS servers FROM flows_1h
        WHERE hour >= past AND hour < window_start AND src_ip IN (SELECT src_ip FROM uploads WHERE carrier = 'smtp') AND app = 'smtp'
        GROUP BY site, src_ip
    ),
    history AS (SELECT site, min(hour) AS since FROM hosts_1h WHERE hour >= past AND hour < window_end GROUP BY site)
SELECT u.site AS site, replaceRegexpOne(toString(u.src_ip), '^::ffff:', '') AS src, replaceRegexpOne(toString(u.dst_ip), '^::ffff:', '') AS dst,
    u.carrier AS carrier, u.user AS user, u.what AS what, u.pieces AS pieces, u.control_bytes + data.bytes AS bytes, u.first AS first, u.last AS last, u.flow_ids AS flow_ids,
    toBool(h.since > window_start - INTERVAL {grace_days:UInt32} DAY) AS learning,
    -- names that those give who collect: kind of loot, name of the machine, time of taking
    toUInt64(arrayCount(f -> match(f, '(?i)^[A-Z]+ (.*/)?((pw|co|kl|sc|cc|kb)_|[^/]*(passw|cookie|keylog|screenshot|wallet|creds|clipboard))')
        OR match(f, '20[0-9]{2}[-_.]?[01][0-9][-_.]?[0-3][0-9][-_. T]?[0-2][0-9][-_.]?[0-5][0-9]'), u.what)) AS loot,
    if(loot > 0, 1., 0.4) AS content,
    if(learning, 0.3, 1.) AS novelty
FROM uploads AS u
LEFT JOIN data ON data.site = u.site AND data.src_ip = u.src_ip AND data.dst_ip = u.dst_ip
LEFT JOIN senders AS m ON m.site = u.site AND m.src_ip = u.src_ip
LEFT JOIN history AS h ON h.site = u.site
WHERE (u.site, u.dst_ip) NOT IN (SELECT site, dst_ip FROM before) AND m.servers < 2
ORDER BY src, dst, site
LIMIT 1000

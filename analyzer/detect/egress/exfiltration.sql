-- Inside hosts from which much more went to one outside name or address than came
-- back, in [from, to), against what they and their peers send to the outside.
-- Payload octets, of the probe that saw most: of connections the host began
-- (side client), and of answers to outside clients (side server). The past is that
-- of flows_1h, in pieces of the window's length, {unit} seconds.
-- src, target, side and site narrow it to one; an empty src means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    window_start - INTERVAL {history_days:UInt32} DAY AS past,
    outward AS
    (
        SELECT 'client' AS side, site, probe, src_ip AS host, dst_ip AS peer, lower(tls_sni) AS name, start, end, segment, src_payload_bytes AS sent, dst_payload_bytes AS got,
            multiIf(protocol IN (1, 58), 'icmp', app = 'dns' OR dst_port = 53, 'dns', app IN ('ssh', 'ftp', 'ftp_data', 'smtp', 'tftp'), toString(app), '') AS carrier, /*flow_id*/ AS id
        FROM flows
        WHERE start >= window_start AND start < window_end AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/
          AND src_role != 'backup' AND dst_role NOT IN ('backup', 'cloud') AND NOT initiator_guessed
        UNION ALL
        SELECT 'server' AS side, site, probe, dst_ip AS host, src_ip AS peer, '' AS name, start, end, segment, dst_payload_bytes AS sent, src_payload_bytes AS got,
            multiIf(protocol IN (1, 58), 'icmp', app IN ('ssh', 'ftp', 'ftp_data', 'tftp', 'smb', 'nfs', 'rdp'), toString(app), '') AS carrier, /*flow_id*/ AS id
        FROM flows
        WHERE start >= window_start AND start < window_end AND /*dst_inside*/ AND NOT /*src_inside*/ AND /*unicast*/
          AND dst_role != 'backup' AND src_role NOT IN ('backup', 'cloud') AND NOT initiator_guessed AND dst_payload_bytes > 0
    ),
    targets AS
    (
        SELECT site, side, host, target, max(sent) AS sent, max(got) AS got, max(top) AS top_hour, min(first) AS first, max(last) AS last, sum(connections) AS connections,
            max(peer) AS address, max(carrier) AS carrier, arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(8)(ids)))), 1, 5) AS flow_ids
        FROM
        (
            SELECT site, probe, side, host, target, sum(s) AS sent, sum(g) AS got, max(s) AS top, min(b) AS first, max(e) AS last, sum(n) AS connections,
                max(p) AS peer, argMax(c, (s, c)) AS carrier, arraySlice(arraySort(arrayFlatten(groupArray(5)(i))), 1, 5) AS ids
            FROM
            (
                SELECT o.site AS site, o.probe AS probe, o.side AS side, o.host AS host, if(o.sni != '', o.sni, replaceRegexpOne(toString(o.peer), '^::ffff:', '')) AS target,
                    toStartOfHour(o.start) AS h, sum(o.sent) AS s, sum(o.got) AS g, min(o.start) AS b, max(o.end) AS e, countIf(o.segment = 0) AS n, max(o.peer) AS p,
                    argMax(o.carrier, (o.sent, o.carrier)) AS c, arrayMap(x -> x.2, groupArraySorted(5)((-toInt64(o.sent), o.id))) AS i
                FROM (SELECT *, argMaxIf(name, (sent, name), name != '') OVER (PARTITION BY site, side, host, peer) AS sni FROM outward) AS o
                GROUP BY site, probe, side, host, target, h
                ORDER BY site, probe, side, host, target, h
            )
            GROUP BY site, probe, side, host, target
        )
        WHERE {src:String} = '' OR host = toIPv6OrDefault({src:String}) AND target = {target:String} AND side = {side:String} AND site = {site:String}
        GROUP BY site, side, host, target
        HAVING sent >= multiIf(side = 'server', {min_bytes_any:UInt64}, carrier IN ('icmp', 'dns'), {min_bytes_odd:UInt64}, {min_bytes:UInt64})
           AND sent >= {min_ratio:Float64} * got
    ),
    -- whose past is asked for, read once: addresses and names that clients called, clients, servers
    (SELECT (groupUniqArrayIf(address, side = 'client'), groupUniqArrayIf(target, side = 'client'), groupUniqArrayIf(host, side = 'client'), groupUniqArrayIf(host, side = 'server')) FROM targets) AS wanted,
    senders AS
    (
        SELECT site, side, groupArray(host) AS hosts, groupArray(total) AS totals
        FROM
        (
            SELECT site, side, host, max(total) AS total
            FROM (SELECT site, probe, side, host, sum(sent) AS total FROM outward GROUP BY site, probe, side, host)
            GROUP BY site, side, host
        )
        GROUP BY site, side
    ),
    known AS
    (
        SELECT site, uniqExact(value) AS inside_hosts
        FROM (SELECT site, value, toIPv6OrDefault(value) AS src_ip, first, last FROM first_seen WHERE kind = 'host')
        WHERE first < window_end AND last >= past AND /*src_inside*/
        GROUP BY site
    ),
    before AS
    (
        SELECT site, groupUniqArray(toDateTime(intDiv(toUnixTimestamp(hour), {unit:UInt32}) * {unit:UInt32}, 'UTC')) AS all_hours
        FROM hosts_1h
        WHERE hour >= past AND hour < window_start
        GROUP BY site
    ),
    prevalence AS
    (
        SELECT site, address, uniqExact(src_ip) AS callers
        FROM
        (
            SELECT site, dst_ip AS address, src_ip FROM flows_1h
            WHERE hour >= past AND hour < window_end AND dst_ip IN (SELECT arrayJoin(wanted.1)) AND /*src_inside*/
        )
        GROUP BY site, address
    ),
    popular AS
    (
        SELECT site, name, uniqCombinedMerge(12)(clients) AS callers
        FROM names_1h
        WHERE hour >= past AND hour < window_end AND source IN ('sni', 'http') AND name IN (SELECT arrayJoin(wanted.2))
        GROUP BY site, name
    ),
    hourly AS
    (
        SELECT site, side, host, groupArray(hour) AS active, groupArray(total) AS amounts, min(hour) AS since
        FROM
        (
            SELECT site, side, host, hour, max(total) AS total
            FROM
            (
                SELECT site, probe, 'client' AS side, src_ip AS host, toDateTime(intDiv(toUnixTimestamp(flows_1h.hour), {unit:UInt32}) * {unit:UInt32}, 'UTC') AS hour,
                    sumIf(src_payload_bytes, NOT /*dst_inside*/ AND /*unicast*/) AS total
                FROM flows_1h
                WHERE flows_1h.hour >= past AND flows_1h.hour < window_start AND src_ip IN (SELECT arrayJoin(wanted.3))
                GROUP BY site, probe, host, hour
                UNION ALL
                SELECT site, probe, 'server' AS side, dst_ip AS host, toDateTime(intDiv(toUnixTimestamp(flows_1h.hour), {unit:UInt32}) * {unit:UInt32}, 'UTC') AS hour,
                    sumIf(dst_payload_bytes, NOT /*src_inside*/) AS total
                FROM flows_1h
                WHERE flows_1h.hour >= past AND flows_1h.hour < window_start AND dst_ip IN (SELECT arrayJoin(wanted.4))
                GROUP BY site, probe, host, hour
            )
            GROUP BY site, side, host, hour
        )
        GROUP BY site, side, host
    ),
    series AS
    (
        SELECT targets.site AS site, targets.side AS side, targets.host AS host, targets.target AS target, targets.sent AS sent, targets.got AS got, targets.top_hour AS top_hour,
            targets.carrier AS carrier, targets.first AS first, targets.last AS last, targets.connections AS connections, targets.flow_ids AS flow_ids,
            indexOf(senders.hosts, targets.host) AS own, senders.totals[own] AS observed,
            greatest(prevalence.callers, popular.callers) AS callers, known.inside_hosts AS inside_hosts,
            arrayMap(x -> log1p(x), arrayConcat(arraySlice(senders.totals, 1, own - 1), arraySlice(senders.totals, own + 1))) AS peers,
            if(empty(hourly.active), [], arrayFilter(h -> h >= hourly.since, before.all_hours)) AS hours,
            arrayMap(h -> if(indexOf(hourly.active, h) > 0, hourly.amounts[indexOf(hourly.active, h)], toUInt64(0)), hours) AS bytes
        FROM targets
        INNER JOIN senders ON targets.site = senders.site AND targets.side = senders.side
        LEFT JOIN prevalence ON targets.site = prevalence.site AND targets.address = prevalence.address AND targets.side = 'client'
        LEFT JOIN popular ON targets.site = popular.site AND targets.target = popular.name
        LEFT JOIN hourly ON targets.site = hourly.site AND targets.side = hourly.side AND targets.host = hourly.host
        LEFT JOIN before ON targets.site = before.site
        LEFT JOIN known ON targets.site = known.site
    ),
    /*judged*/
SELECT *, replaceRegexpOne(toString(host), '^::ffff:', '') AS src, length(peers) AS peer_count, length(hours) AS past_hours,
    toBool(side = 'client' AND callers <= greatest(1, 0.02 * inside_hosts)) AS rare,
    multiIf(carrier IN ('icmp', 'dns') AND side = 'client', {min_bytes_odd:UInt64}, rare, {min_bytes:UInt64}, {min_bytes_any:UInt64}) AS least_bytes,
    if(empty(peers), 0, arrayReduce('quantileExactInclusive(0.5)', peers)) AS peer_median,
    if(empty(peers), 0, arrayReduce('quantileExactInclusive(0.5)', arrayMap(x -> abs(x - peer_median), peers))) AS peer_mad,
    if(peer_count < 5, 0, (log1p(observed) - peer_median) / greatest(1.4826 * peer_mad, 0.5)) AS peer_z,
    least(1, greatest(0, z / 8)) AS own_past,
    least(1, greatest(0, peer_z / 8)) AS against_peers,
    least(1, log10(1 + sent / greatest(1, got)) / 3) AS one_way,
    if(rare, 1., 1. / greatest(2, callers)) AS rarity,
    least(1, greatest(0, 0.5 + 0.25 * log10(sent / least_bytes))) AS amount
FROM judged
WHERE sent >= least_bytes
  -- what one hour has enough of is the matter of the shorter window
  AND ({unit:UInt32} = 3600 OR top_hour < least_bytes)
  AND (level = 'learning' OR z >= {min_z:Float64} AND observed > ceiling AND (peer_count < 5 OR peer_z >= 2))
ORDER BY sent DESC, src, target, side, site
LIMIT 1000

-- Connections that were still open in the hour [from, to) and have lasted long, with
-- a destination that few inside hosts had in the last day. The hours before are asked
-- only for what is open now. probe, epoch, worker and flow narrow it to one.
WITH
    open_now AS
    (
        SELECT probe, epoch, worker, flow_id
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND /*unicast*/ AND NOT /*exempt*/
          AND (segment > 0 OR end >= start + toIntervalSecond({min_seconds:UInt32}))
          AND ({probe:String} = '' OR probe = {probe:String} AND epoch = {epoch:UInt64} AND worker = {worker:UInt16} AND flow_id = {flow:UInt64})
        GROUP BY probe, epoch, worker, flow_id
    ),
    lasting AS
    (
        SELECT site, probe, epoch, worker, flow_id, src_ip, dst_ip, src_port, dst_port, protocol,
            min(start) AS first, max(end) AS last, sum(src_payload_bytes) AS sent, sum(dst_payload_bytes) AS received, sum(src_packets + dst_packets) AS packets,
            max(toString(app)) AS application, max(tls_sni) AS name, max(toUInt8(initiator_guessed)) = 1 AS guessed, argMax(toString(end_reason), (end, segment)) AS ended
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 23 HOUR AND start < {to:DateTime('UTC')} AND (probe, epoch, worker, flow_id) IN open_now
        GROUP BY site, probe, epoch, worker, flow_id, src_ip, dst_ip, src_port, dst_port, protocol
        HAVING dateDiff('second', first, last) >= {min_seconds:UInt32} AND received > 0
        ORDER BY packets DESC, probe, epoch, worker, flow_id
        LIMIT 1 BY site, src_ip, dst_ip, src_port, dst_port, protocol
    ),
    clients AS
    (
        SELECT site, dst_ip, uniqExact(src_ip) AS n
        FROM flows_1h
        WHERE hour >= {from:DateTime('UTC')} - INTERVAL 23 HOUR AND hour < {to:DateTime('UTC')} AND dst_ip IN (SELECT dst_ip FROM lasting)
        GROUP BY site, dst_ip
    )
SELECT *, least(1, 0.4 + 0.6 * log(seconds / 3600) / log(12)) AS duration, 1 / sqrt(greatest(1, clients)) AS rarity,
    multiIf(crossing = 'both inside', 0.5, 1.) AS reach
FROM
(
    SELECT l.site AS site, probe, epoch, worker, flow_id AS flow, /*src_text*/ AS src, /*dst_text*/ AS dst, src_port, dst_port AS port, protocol, first, last, sent, received, packets, application, name, ended,
        toFloat64(dateDiff('second', first, last)) AS seconds, greatest(1, c.n) AS clients,
        multiIf(NOT /*src_inside*/, 'from outside', /*dst_inside*/, 'both inside', 'to outside') AS crossing
    FROM lasting AS l LEFT JOIN clients AS c ON l.site = c.site AND l.dst_ip = c.dst_ip
)
WHERE clients <= {max_clients:UInt32} AND NOT (application IN {quiet_apps:Array(String)} OR crossing = 'both inside' AND application IN {inside_apps:Array(String)})
  AND NOT arrayExists(s -> lower(name) = s OR endsWith(lower(name), concat('.', s)), {known:Array(String)})
ORDER BY seconds DESC, src, dst, src_port
LIMIT 1000

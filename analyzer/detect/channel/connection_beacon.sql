-- Connections that are kept open and in which little passes, as much every minute, in
-- the 15 minutes before to. The probe cuts a connection into records of a minute; the
-- shorter ones are compared by their rates. src, dst, port and site narrow it to one pair.
SELECT site, src, dst, port, protocol, flow_ids, application, crossing, first, last, pieces, packets, octets, gap, clients,
    1 - packet_spread / {max_spread:Float64} / 2 AS evenness, 1 - octet_spread / (2 * {max_spread:Float64}) / 2 AS likeness, 1 / sqrt(clients) AS rarity, multiIf(crossing = 'to outside', 1., 0.7) AS reach
FROM
(
    SELECT *, greatest(1, uniqExact(src) OVER (PARTITION BY site, dst, port)) AS clients
    FROM
    (
        SELECT site, probe, arraySlice(arraySort(groupUniqArray(id)), 1, 5) AS flow_ids, /*src_text*/ AS src, /*dst_text*/ AS dst, dst_port AS port, protocol, max(kind) AS application,
            multiIf(src_net > 0 AND dst_net = 0, 'to outside', src_net > 0 AND src_net != dst_net, 'to another inside network', '') AS crossing,
            min(start) AS first, max(end) AS last, count() AS pieces, sum(src_packets + dst_packets) AS packets, sum(src_payload_bytes + dst_payload_bytes) AS octets,
            avg(src_iat_mean_us) / 1000000 AS gap, min(dst_packets) AS answered,
            stddevPopStable((src_packets + dst_packets) / seconds) / avg((src_packets + dst_packets) / seconds) AS packet_spread,
            stddevPopStable((src_payload_bytes + dst_payload_bytes) / seconds) / avg((src_payload_bytes + dst_payload_bytes) / seconds) AS octet_spread
        FROM
        (
            SELECT site, probe, /*flow_id*/ AS id, src_ip, dst_ip, src_port, dst_port, protocol, start, end, src_packets, dst_packets, src_payload_bytes, dst_payload_bytes, src_iat_mean_us,
                toString(app) AS kind, dateDiff('millisecond', start, end) / 1000 AS seconds,
                arrayFirstIndex((a, b) -> src_ip >= a AND src_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)}) AS src_net,
                arrayFirstIndex((a, b) -> dst_ip >= a AND dst_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)}) AS dst_net
            FROM flows
            WHERE start >= {from:DateTime('UTC')} - INTERVAL 10 MINUTE AND start < {to:DateTime('UTC')} AND protocol = 6 AND app IN ('', 'unknown', 'http') AND /*unicast*/ AND NOT /*exempt*/
              AND dst_port NOT IN {logins:Array(UInt16)} AND src_packets > 0 AND end >= start + INTERVAL 20 SECOND
        )
        GROUP BY site, probe, src_ip, dst_ip, src_port, dst_port, protocol, src_net, dst_net
        HAVING crossing != '' AND last >= {from:DateTime('UTC')} AND pieces >= 3 AND answered > 0 AND gap BETWEEN 0.2 AND 40 AND octets > 0
           AND octets / packets <= 800 AND octets / dateDiff('second', first, last) <= {max_rate:Float64}
           AND packet_spread <= {max_spread:Float64} AND octet_spread <= 2 * {max_spread:Float64}
        ORDER BY packets DESC, probe, first
        LIMIT 1 BY site, src, dst, port
    )
)
WHERE clients <= {max_clients:UInt32} AND ({src:String} = '' OR src = {src:String} AND dst = {dst:String} AND port = {port:UInt16} AND site = {site:String})
ORDER BY pieces DESC, src, dst, port, site
LIMIT 1000

-- What passes the border of the inside networks under a false or no name, in [from, to): protocols
-- on ports that are not theirs, what is not TLS on port 443, and connections that nobody recognised
-- after 16 packets. Equal ones are one cluster; kind, application, port and site narrow it to one.
SELECT site, kind, application, port, protocol, clients, servers, connections, octets, first, last, top_client, top_server, flow_ids,
    1 / sqrt(clients) AS rarity, transform(kind, ['not_tls', 'odd_port', 'unknown'], [1., 0.7, 0.5], 0.) AS oddity, least(1, log10(1 + octets) / 7) AS volume
FROM
(
    SELECT site, kind, application, dst_port AS port, protocol, uniqExact(src_ip) AS clients, uniqExact(dst_ip) AS servers, uniqExact(src_ip, dst_ip, src_port) AS connections, sum(load) AS octets,
        min(start) AS first, max(end) AS last, argMax(/*src_text*/, (load, src_ip)) AS top_client, argMax(/*dst_text*/, (load, dst_ip)) AS top_server, arraySlice(arraySort(groupUniqArray(id)), 1, 5) AS flow_ids
    FROM
    (
        SELECT site, src_ip, dst_ip, src_port, dst_port, protocol, start, end, src_payload_bytes + dst_payload_bytes AS load, /*flow_id*/ AS id, if(/*unrecognised*/, 'unknown', toString(app)) AS application,
            multiIf(dst_port = 443 AND protocol = 6 AND application NOT IN ('tls', 'http', 'quic'), 'not_tls', application != 'unknown' AND bitTest(risks, 5), 'odd_port', application = 'unknown', 'unknown', '') AS kind
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
          AND src_packets + dst_packets >= 16 AND (/*unrecognised*/ OR bitTest(risks, 5) OR dst_port = 443 AND protocol = 6) AND app NOT IN ('bittorrent', 'rtp', 'stun') AND /*unicast*/ AND NOT /*exempt*/
          AND /*src_inside*/ AND NOT /*dst_inside*/
    )
    WHERE kind != '' AND ({kind:String} = '' OR kind = {kind:String} AND application = {application:String} AND dst_port = {port:UInt16} AND site = {site:String})
    GROUP BY site, kind, application, dst_port, protocol
)
WHERE clients <= {max_clients:UInt32}
ORDER BY octets DESC, kind, application, port, protocol, site
LIMIT 1 BY site, kind, application, port
LIMIT 200

-- Clients.
INSERT INTO retro_hits (sweep, source, part, list, kind, value, field, seen, host, first, last, flows, answered, src_bytes, dst_bytes, ports, flow_id, confidence, at)
SELECT {sweep:String}, 'flows', {first:Date}, m.list, m.kind, m.value, f.field, f.seen, f.host, f.began, f.ended, f.n, f.a, f.sent, f.received, f.p, f.id, m.confidence, now64(3, 'UTC')
FROM
(
    -- several probes may see one flow: that which saw most counts
    SELECT field, seen, host, min(began) AS began, max(ended) AS ended, max(n) AS n, max(a) AS a, max(sent) AS sent, max(received) AS received,
           arraySlice(arraySort(groupUniqArrayArray(p)), 1, 8) AS p, argMin(id, began) AS id
    FROM
    (
        SELECT probe, 'tls_sni' AS field, toString(tls_sni) AS seen, src_ip AS host, min(start) AS began, max(end) AS ended, countIf(segment = 0) AS n,
               countIf(segment = 0 AND dst_payload_bytes > 0) AS a, sum(src_bytes) AS sent, sum(dst_bytes) AS received, groupUniqArray(8)(dst_port) AS p,
               argMin(concat(probe, '/', toString(epoch), '/', toString(worker), '/', toString(flow_id)), (start, flow_id)) AS id
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
          AND tls_sni IN (SELECT seen FROM retro_matches WHERE sweep = {sweep:String} AND source = 'flows' AND first = {first:Date} AND field = 'tls_sni')
        GROUP BY probe, seen, host
    )
    GROUP BY field, seen, host
) AS f
INNER JOIN (SELECT DISTINCT seen, list, kind, value, confidence FROM retro_matches WHERE sweep = {sweep:String} AND source = 'flows' AND first = {first:Date} AND field = 'tls_sni') AS m ON m.seen = f.seen

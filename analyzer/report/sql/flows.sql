-- The sample of flows of an alert, by the parts of their ids.
SELECT concat(probe, '/', toString(epoch), '/', toString(worker), '/', toString(flow_id)) AS id, start, end, replaceRegexpOne(toString(src_ip), '^::ffff:', '') AS src, src_port,
    replaceRegexpOne(toString(dst_ip), '^::ffff:', '') AS dst, dst_port, protocol, toString(app) AS app, src_packets, dst_packets, src_bytes, dst_bytes, toString(conn_state) AS state, tls_sni AS name
FROM flows
WHERE start >= {from:DateTime64(9, 'UTC')} AND start <= {to:DateTime64(9, 'UTC')} AND flow_id IN {flows:Array(UInt64)} AND probe IN {probes:Array(String)}
    AND concat(probe, '/', toString(epoch), '/', toString(worker), '/', toString(flow_id)) IN {ids:Array(String)}
ORDER BY start, id, segment
LIMIT 200

-- What is known of these flows, given as probe/epoch/worker/flow_id.
SELECT concat(probe, '/', toString(epoch), '/', toString(worker), '/', toString(flow_id)) AS id,
    arrayDistinct(arrayMap(n -> lower(n), arrayFilter(n -> n != '', arrayConcat([tls_sni, http_host], dns_names)))) AS names,
    dst_port, toString(ja4)
FROM flows
WHERE start >= {from:DateTime64(9, 'UTC')} AND start <= {to:DateTime64(9, 'UTC')}
  AND flow_id IN {numbers:Array(UInt64)} AND segment = 0 AND has({ids:Array(String)}, id)
LIMIT 100000

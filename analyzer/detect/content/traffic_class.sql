-- Connections of a client to a server and port, in [from, to), whose hashes are keys:
-- one row. Of several probes each counts once.
SELECT count() AS connections, uniqExact(dst_ip) AS servers, least(1, log10(1 + connections) / 3) AS volume
FROM
(
    SELECT DISTINCT dst_ip, cityHash64(site, src_ip, dst_ip, src_port, dst_port, protocol, start) AS key
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND site = {site:String} AND src_ip = toIPv6OrDefault({src:String}) AND dst_ip = toIPv6OrDefault({dst:String})
      AND dst_port = {port:UInt16} AND has({keys:Array(UInt64)}, cityHash64(site, src_ip, dst_ip, src_port, dst_port, protocol, start))
)

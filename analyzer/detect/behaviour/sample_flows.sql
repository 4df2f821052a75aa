-- Flows of a host in a window that stand for what it did there: the largest.
SELECT arrayMap(x -> x.2, groupArraySorted(5)((-toInt64(src_bytes + dst_bytes), /*flow_id*/))) AS ids
FROM flows
WHERE start >= toDateTime({from:UInt32}, 'UTC') AND start < toDateTime({to:UInt32}, 'UTC') AND site = {site:String}
  AND (src_ip = toIPv6OrDefault({host:String}) OR dst_ip = toIPv6OrDefault({host:String}))

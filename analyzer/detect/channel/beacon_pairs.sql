-- Pairs of a client and what it calls, for all clients that were active in the
-- window. The scores of beacon.sql are reckoned of these in Go.
/*calls*/
SELECT site, /*src_text*/ AS src, target, named, way, replaceRegexpOne(toString(last_dst), '^::ffff:', '') AS dst, addresses, dst_port AS port, protocol, variant AS ja4, clients,
    flow_ids, arrayMap(x -> x.1, all_calls) AS times, arrayMap(x -> x.2, all_calls) AS sizes,
    ifNull((SELECT uniqExact(src_ip) FROM flows WHERE start >= recent AND start < until AND /*src_inside*/), 0) AS hosts
FROM pairs

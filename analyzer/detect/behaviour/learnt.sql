-- Since when inside hosts are known, and how many hours of them there are, up to {from}.
SELECT 'host' AS kind, site, replaceRegexpOne(toString(h.host), '^::ffff:', '') AS name, min(hour) AS since, max(hour) + 3600 AS until, uniqExact(hour) AS hours
FROM hosts_1h AS h
WHERE hour >= toDateTime({from:UInt32}, 'UTC') - INTERVAL {history_days:UInt32} DAY AND hour < toDateTime({from:UInt32}, 'UTC') AND primary_observer
  AND arrayExists((a, b) -> host >= a AND host <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
  AND ({host:String} = '' OR host = toIPv6OrDefault({host:String}))
GROUP BY site, h.host
ORDER BY site, h.host
LIMIT {limit:UInt32}

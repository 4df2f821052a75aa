-- All hours of all inside hosts in [from, to): what a forest of a site is made of.
SELECT hour, /*features*/ AS v
FROM hosts_1h
WHERE hour >= toDateTime({from:UInt32}, 'UTC') AND hour < toDateTime({to:UInt32}, 'UTC') AND primary_observer
  AND arrayExists((a, b) -> host >= a AND host <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
GROUP BY site, host, hour
ORDER BY cityHash64({seed:UInt64}, site, host, hour), site, host, hour
LIMIT 200000

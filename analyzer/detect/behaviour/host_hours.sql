-- The hours of a host before the window, each with what it did: what the forest of
-- the host is made of, and the hour of the window last.
SELECT hour, /*features*/ AS v
FROM hosts_1h
WHERE hour >= toDateTime({from:UInt32}, 'UTC') - INTERVAL {history_days:UInt32} DAY AND hour <= toDateTime({from:UInt32}, 'UTC')
  AND primary_observer AND host = toIPv6OrDefault({host:String}) AND site = {site:String}
GROUP BY hour
ORDER BY hour

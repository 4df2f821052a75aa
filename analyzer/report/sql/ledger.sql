-- What each probe saw and what of it is in flows.
SELECT toString(probe) AS name, sum(seen_packets) AS seen, sum(flow_packets) AS kept
FROM ledger
WHERE second >= toDateTime({from:UInt32}, 'UTC') AND second < toDateTime({to:UInt32}, 'UTC')
GROUP BY name
ORDER BY name
LIMIT 1000

-- Octets of each link by the hour, for trend and forecast.
SELECT site, toString(probe) AS link, toUInt32(toUnixTimestamp(hour)) AS at, sum(sent_bytes + received_bytes) AS octets
FROM hosts_1h
WHERE hour >= toDateTime({from:UInt32}, 'UTC') AND hour < toDateTime({to:UInt32}, 'UTC') AND role = 'initiator'
GROUP BY site, link, at
ORDER BY site, link, at
LIMIT 500000

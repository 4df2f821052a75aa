-- What each application had, each flow once.
SELECT if(app = '', 'unknown', toString(app)) AS name, sum(flows) AS connections, sum(src_bytes + dst_bytes) AS octets, sum(src_bytes) AS sent, sum(dst_bytes) AS received
FROM flows_1h
WHERE hour >= toDateTime({from:UInt32}, 'UTC') AND hour < toDateTime({to:UInt32}, 'UTC') AND primary_observer
GROUP BY name
ORDER BY octets DESC, name
LIMIT 1000

-- What is not in flows, by probe and reason.
SELECT toString(probe) AS name, toString(reason) AS why, sum(packets) AS lost, sum(lost_records) AS records
FROM ledger_losses
WHERE second >= toDateTime({from:UInt32}, 'UTC') AND second < toDateTime({to:UInt32}, 'UTC')
GROUP BY name, why
ORDER BY name, why
LIMIT 5000

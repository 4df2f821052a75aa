-- one hour of all hosts, as a rollup reads it
-- hour: SELECT toString(toStartOfDay(min(start)) + INTERVAL 12 HOUR) FROM flows
SELECT src_ip, dst_ip, dst_port, protocol, app, count(), sum(src_bytes), sum(dst_bytes) FROM flows
WHERE start >= toDateTime64({hour:String}, 9, 'UTC') AND start < toDateTime64({hour:String}, 9, 'UTC') + INTERVAL 1 HOUR GROUP BY ALL ORDER BY count() DESC LIMIT 10

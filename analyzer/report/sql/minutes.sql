-- Whether the minutes of the period are all there: their octets equal those of the hours.
SELECT (SELECT sum(src_bytes + dst_bytes) FROM flows_1m WHERE minute >= toDateTime({from:UInt32}, 'UTC') AND minute < toDateTime({to:UInt32}, 'UTC')) AS fine,
    (SELECT sum(src_bytes + dst_bytes) FROM flows_1h WHERE hour >= toDateTime({from:UInt32}, 'UTC') AND hour < toDateTime({to:UInt32}, 'UTC')) AS coarse

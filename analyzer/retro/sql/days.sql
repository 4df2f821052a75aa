-- What is stored of each day of traffic, and what is known of what is not.
SELECT day, sum(flow_rows) AS flow_rows, sum(hour_rows) AS hour_rows, sum(day_rows) AS day_rows, sum(name_rows) AS name_rows,
       sum(promised) AS promised, sum(seen) AS seen, sum(in_flows) AS in_flows, max(gone) AS gone
FROM
(
    SELECT YYYYMMDDToDate(toUInt32(_partition_id)) AS day, count() AS flow_rows, 0 AS hour_rows, 0 AS day_rows, 0 AS name_rows, 0 AS promised, 0 AS seen, 0 AS in_flows, false AS gone
    FROM flows GROUP BY _partition_id
    UNION ALL
    SELECT toDate(bucket) AS day, 0, sumIf(raw_rows, rollup = 'flows_1h'), sumIf(raw_rows, rollup = 'flows_1d'), sumIf(raw_rows, rollup = 'names_1h'), 0, 0, 0, false
    FROM (SELECT r.rollup AS rollup, r.bucket AS bucket, argMax(r.raw_rows, (r.build, r.cover)) AS raw_rows FROM rollup_builds AS r WHERE r.rollup IN ('flows_1h', 'flows_1d', 'names_1h') GROUP BY r.rollup, r.bucket)
    GROUP BY day
    UNION ALL
    SELECT toDate(toDateTime(minute * 60, 'UTC')) AS day, 0, 0, 0, 0, sum(n), 0, 0, false
    FROM (SELECT minutes, minute_rows FROM batches FINAL WHERE status IN ('stored', 'expired'))
    ARRAY JOIN minutes AS minute, minute_rows AS n GROUP BY day
    UNION ALL
    SELECT toDate(second) AS day, 0, 0, 0, 0, 0, sum(seen_packets), sum(flow_packets), false FROM ledger GROUP BY day
    UNION ALL
    SELECT YYYYMMDDToDate(toUInt32(partition)) AS day, 0, 0, 0, 0, 0, 0, 0, true
    FROM retention_log WHERE table = 'flows' AND match(partition, '^[0-9]{8}$') GROUP BY day
)
GROUP BY day
HAVING flow_rows + hour_rows + day_rows + promised + seen > 0 OR gone
ORDER BY day

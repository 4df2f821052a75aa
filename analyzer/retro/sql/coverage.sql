SELECT toDateTime(day, 'UTC'), arrayMap(t -> toString(t), tables), flow_rows, rollup_rows, promised_rows, seen_packets, flow_packets, dropped, toString(verdict)
FROM retro_days FINAL WHERE sweep = {sweep:String} ORDER BY day

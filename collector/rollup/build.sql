-- One build of the given buckets, from raw.
INSERT INTO flows_1m_builds
SELECT toStartOfHour(start) AS bucket, @build AS build, toStartOfMinute(start) AS minute,
       probe, site, src_ip, dst_ip, dst_port, protocol, app,
       countIf(segment = 0) AS flows, count() AS segments, countIf(segment = 0 AND dst_payload_bytes = 0) AS failed,
       sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_frame_bytes), sum(dst_frame_bytes),
       sum(src_payload_bytes), sum(dst_payload_bytes)
FROM flows
WHERE toYYYYMMDD(start) IN @dates AND toUnixTimestamp(toStartOfHour(start)) IN @buckets
GROUP BY bucket, minute, probe, site, src_ip, dst_ip, dst_port, protocol, app
SETTINGS max_bytes_before_external_group_by = 1000000000, async_insert = 0

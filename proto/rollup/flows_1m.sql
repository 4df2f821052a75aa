-- Traffic by minute, pair, service and application.
INSERT INTO flows_1m_builds
    (bucket, build, minute, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer, flows, segments, failed,
     src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes, received)
SELECT toStartOfHour(start) AS bucket, @build AS build, toStartOfMinute(start) AS minute,
       probe, site, src_ip, dst_ip, dst_port, protocol, app, /*primary*/ AS primary_observer,
       countIf(segment = 0) AS flows, count() AS segments, countIf(segment = 0 AND dst_payload_bytes = 0) AS failed,
       sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_frame_bytes), sum(dst_frame_bytes),
       sum(src_payload_bytes), sum(dst_payload_bytes), toDateTime(max(received))
FROM flows
WHERE /*rows*/
GROUP BY bucket, minute, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer

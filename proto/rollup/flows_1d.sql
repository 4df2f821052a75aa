-- The same by day, of the newest builds of its hours.
INSERT INTO flows_1d_builds
    (bucket, build, day, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer, flows, segments, failed,
     src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes, received)
SELECT toStartOfDay(hours.bucket) AS bucket, @build AS build, bucket AS day, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer,
       sum(flows), sum(segments), sum(failed), sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes),
       sum(src_frame_bytes), sum(dst_frame_bytes), sum(src_payload_bytes), sum(dst_payload_bytes), max(received)
FROM flows_1h_builds AS hours
WHERE /*hours*/
GROUP BY bucket, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer

-- The same by hour: of the minutes of this build, so that the sums are theirs.
INSERT INTO flows_1h_builds
    (bucket, build, hour, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer, flows, segments, failed,
     src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes, received)
SELECT bucket, build, bucket AS hour, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer,
       sum(flows), sum(segments), sum(failed), sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes),
       sum(src_frame_bytes), sum(dst_frame_bytes), sum(src_payload_bytes), sum(dst_payload_bytes), max(received)
FROM flows_1m_builds
WHERE build = @build AND toUnixTimestamp(bucket) IN @buckets
GROUP BY bucket, build, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer

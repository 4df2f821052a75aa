-- Rollups are functions of raw: a bucket is built whole from `flows`, under a
-- new build number, and counts once it stands in rollup_builds. A bucket is
-- dirty while the rows that `batches` promises differ from raw_rows.
CREATE TABLE IF NOT EXISTS rollup_builds
(
    rollup    LowCardinality(String) COMMENT 'name of the rollup, flows_1m',
    bucket    DateTime('UTC') COMMENT 'hour that was built',
    build     UInt64 COMMENT 'grows',
    raw_rows  UInt64 COMMENT 'rows of flows it was made of',
    built     DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(build)
ORDER BY (rollup, bucket);

CREATE TABLE IF NOT EXISTS flows_1m_builds
(
    bucket            DateTime('UTC') COMMENT 'hour of the build',
    build             UInt64,
    minute            DateTime('UTC'),
    probe             LowCardinality(String),
    site              LowCardinality(String),
    src_ip            IPv6,
    dst_ip            IPv6,
    dst_port          UInt16,
    protocol          UInt8,
    app               LowCardinality(String),
    flows             UInt64 COMMENT 'connections: segment 0',
    segments          UInt64 COMMENT 'rows of flows',
    failed            UInt64 COMMENT 'connections without payload from the responder',
    src_packets       UInt64,
    dst_packets       UInt64,
    src_bytes         UInt64,
    dst_bytes         UInt64,
    src_frame_bytes   UInt64,
    dst_frame_bytes   UInt64,
    src_payload_bytes UInt64,
    dst_payload_bytes UInt64
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(bucket)
ORDER BY (bucket, build, minute, src_ip, dst_ip, dst_port)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The newest complete build of each bucket.
CREATE VIEW IF NOT EXISTS flows_1m AS
SELECT minute, probe, site, src_ip, dst_ip, dst_port, protocol, app, flows, segments, failed,
       src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes,
       src_payload_bytes, dst_payload_bytes
FROM flows_1m_builds
WHERE (bucket, build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'flows_1m' GROUP BY bucket);

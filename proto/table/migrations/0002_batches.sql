-- One row for each Kafka message that was dealt with: where it went, how many
-- rows it promised for each day and minute, and the ledger it carried. A
-- repeated write of the same message replaces itself: read with FINAL.
CREATE TABLE IF NOT EXISTS batches
(
    probe             LowCardinality(String),
    site              LowCardinality(String),
    epoch             UInt64,
    worker            UInt16,
    seq               UInt64,
    topic             LowCardinality(String),
    kafka_partition   Int32,
    kafka_offset      Int64,
    received          DateTime64(3, 'UTC'),
    stored            DateTime64(3, 'UTC'),
    block             String COMMENT 'token of the insert, topic/partition/first-last/hash',
    status            LowCardinality(String) COMMENT 'stored, duplicate, quarantined or expired',
    reason            LowCardinality(String) COMMENT 'why quarantined',
    rows              UInt32,
    days              Array(Date),
    day_rows          Array(UInt32),
    minutes           Array(UInt32) COMMENT 'Unix time / 60 of flow starts',
    minute_rows       Array(UInt32),

    schema_version    UInt16,
    clock             DateTime64(9, 'UTC'),
    watermark         DateTime64(9, 'UTC'),
    sealed            DateTime64(9, 'UTC'),
    end_of_stream     Bool,
    live              Bool,
    open_flows        UInt64,

    -- the ledger, one element per second
    ledger_second     Array(DateTime('UTC')),
    seen_packets      Array(UInt64),
    seen_frame_bytes  Array(UInt64),
    flow_packets      Array(UInt64),
    flow_frame_bytes  Array(UInt64),
    flows_started     Array(UInt64),
    flows_ended       Array(UInt64),
    records           Array(UInt64),

    -- losses, one element per second and reason
    loss_second       Array(DateTime('UTC')),
    loss_reason       Array(LowCardinality(String)),
    loss_packets      Array(UInt64),
    loss_frame_bytes  Array(UInt64),
    loss_records      Array(UInt64),

    -- batches the probe's spool gave up
    drop_epoch        Array(UInt64),
    drop_worker       Array(UInt16),
    drop_seq_from     Array(UInt64),
    drop_seq_to       Array(UInt64),
    drop_records      Array(UInt64),
    drop_packets      Array(UInt64),
    drop_frame_bytes  Array(UInt64),
    drop_reason       Array(LowCardinality(String)),

    INDEX stored stored TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored)
ORDER BY (probe, epoch, worker, seq, topic, kafka_partition, kafka_offset)
TTL toDateTime(stored) + INTERVAL 90 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What each capture worker saw, second by second of traffic time.
CREATE VIEW IF NOT EXISTS ledger AS
SELECT probe, site, epoch, worker, seq, live, received,
       second, seen_packets, seen_frame_bytes, flow_packets, flow_frame_bytes, flows_started, flows_ended, records
FROM batches FINAL
ARRAY JOIN ledger_second AS second, seen_packets AS seen_packets, seen_frame_bytes AS seen_frame_bytes,
           flow_packets AS flow_packets, flow_frame_bytes AS flow_frame_bytes,
           flows_started AS flows_started, flows_ended AS flows_ended, records AS records
WHERE status IN ('stored', 'expired');

-- What it did not put into flows, or lost as records, by reason.
CREATE VIEW IF NOT EXISTS ledger_losses AS
SELECT probe, site, epoch, worker, seq, received,
       second, reason, packets, frame_bytes, lost_records
FROM
(
    SELECT probe, site, epoch, worker, seq, received, status,
           loss_second AS s, loss_reason AS r, loss_packets AS p, loss_frame_bytes AS b, loss_records AS n
    FROM batches FINAL
)
ARRAY JOIN s AS second, r AS reason, p AS packets, b AS frame_bytes, n AS lost_records
WHERE status IN ('stored', 'expired');

-- Batches that a probe's spool gave up before they reached Kafka. The same range
-- may be declared twice after a crash of the probe, and counts once.
CREATE VIEW IF NOT EXISTS ledger_dropped AS
SELECT probe, site, epoch, worker, seq_from, seq_to, reason, min(received) AS declared,
       any(dr) AS records, any(dp) AS packets, any(db) AS frame_bytes
FROM
(
    SELECT probe, site, received, status, drop_epoch, drop_worker, drop_seq_from, drop_seq_to,
           drop_records, drop_packets, drop_frame_bytes, drop_reason
    FROM batches FINAL
)
ARRAY JOIN drop_epoch AS epoch, drop_worker AS worker, drop_seq_from AS seq_from, drop_seq_to AS seq_to,
           drop_records AS dr, drop_packets AS dp, drop_frame_bytes AS db, drop_reason AS reason
WHERE status IN ('stored', 'expired')
GROUP BY probe, site, epoch, worker, seq_from, seq_to, reason;

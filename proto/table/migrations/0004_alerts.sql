-- Alerts: the newest revision of each identity counts; read with FINAL.
CREATE TABLE IF NOT EXISTS alerts
(
    id            String COMMENT 'stable: hash of detector, entities and start of the episode',
    revision      UInt32 COMMENT 'from 1',
    detector      LowCardinality(String),
    version       UInt16 COMMENT 'of the detector',
    title         String,
    severity      LowCardinality(String) COMMENT 'info, low, medium, high or critical',
    score         Float64 COMMENT '0 to 1',
    confidence    Float64 COMMENT '0 to 1',
    magnitude     Float64 COMMENT 'how much of it, in the unit of the detector: ports, hosts, SYNs, connections, bytes',
    techniques    Array(LowCardinality(String)) COMMENT 'ATT&CK ids',
    actor         String COMMENT 'address or name of who did it, empty if many',
    victim        String COMMENT 'address, name or network it was done to, empty if many',
    entities      Array(String) COMMENT 'all addresses and names concerned, as role=value',
    start         DateTime64(9, 'UTC') COMMENT 'first traffic concerned',
    end           DateTime64(9, 'UTC') COMMENT 'last traffic concerned',
    window_start  DateTime('UTC'),
    window_end    DateTime('UTC'),
    sub_scores    Map(String, Float64),
    reasons       Array(String) COMMENT 'why this severity, for people',
    evidence_sql  String COMMENT 'query that proves it, parameters as {name:Type}',
    evidence_params Map(String, String),
    baseline      String COMMENT 'JSON: what it was compared with',
    flow_ids      Array(String) COMMENT 'sample: probe/epoch/worker/flow_id',
    completeness  Float64 COMMENT 'share of the packets seen in the window that are in flows, 0 to 1, NaN unknown',
    provisional   Bool COMMENT 'the window was not closed yet',
    missing       Array(String) COMMENT 'probes that had not passed the window',
    raised        DateTime64(3, 'UTC') COMMENT 'wall clock of the first revision',
    updated       DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What a detector did about a window, so that none is skipped and a late batch
-- re-opens it.
CREATE TABLE IF NOT EXISTS job_runs
(
    detector     LowCardinality(String),
    version      UInt16,
    window_start DateTime('UTC'),
    window_end   DateTime('UTC'),
    revision     UInt32,
    rows         UInt64 COMMENT 'rows that batches promised for the window when it ran',
    closed       Bool COMMENT 'every probe had passed the window',
    alerts       UInt32,
    took_ms      UInt32,
    error        String,
    ran          DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(ran)
ORDER BY (detector, version, window_start);

-- Deliveries of alerts, so that none is sent twice and none is forgotten.
CREATE TABLE IF NOT EXISTS deliveries
(
    alert     String,
    revision  UInt32,
    sink      String,
    status    LowCardinality(String) COMMENT 'pending, delivered, gave_up, or replaced by a newer revision',
    severity  LowCardinality(String) COMMENT 'of what was sent or waits',
    magnitude Float64 COMMENT 'of what was sent or waits',
    attempts  UInt32,
    error     String,
    at        DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (alert, revision, sink);

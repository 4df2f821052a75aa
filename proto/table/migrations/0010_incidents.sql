-- What an analyst needs of an alert besides its proof.
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS unless Array(String) COMMENT 'what would have kept it from being raised' AFTER reasons;
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS withdrawn Bool COMMENT 'no window holds it any more: what was judged early, or by an older detector, was not confirmed' AFTER missing;
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS suppressed_by String COMMENT 'exclusion:ID, or alert:ID of what explains it, empty: nothing' AFTER withdrawn;
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS related Array(String) COMMENT 'of a case: ids of its alerts, in the order of time' AFTER suppressed_by;

-- What each window said about an alert, whose row is made of all of them: so a
-- window that is judged again replaces what it said before. Read with FINAL.
CREATE TABLE IF NOT EXISTS alert_findings
(
    detector      LowCardinality(String),
    alert         String COMMENT 'id in alerts',
    window_start  DateTime('UTC'),
    window_end    DateTime('UTC'),
    revision      UInt32 COMMENT 'from 1',
    gone          Bool COMMENT 'the window was judged again and says so no more',
    hash          UInt64 COMMENT 'of the columns below',
    version       UInt16 COMMENT 'of the detector',
    title         String CODEC(ZSTD(3)),
    severity      LowCardinality(String),
    score         Float64,
    confidence    Float64,
    magnitude     Float64,
    techniques    Array(LowCardinality(String)),
    actor         String CODEC(ZSTD(3)),
    victim        String CODEC(ZSTD(3)),
    entities      Array(String) CODEC(ZSTD(3)),
    start         DateTime64(9, 'UTC'),
    end           DateTime64(9, 'UTC'),
    sub_scores    Map(String, Float64) CODEC(ZSTD(3)),
    reasons       Array(String) CODEC(ZSTD(3)),
    unless        Array(String) CODEC(ZSTD(3)),
    evidence_sql  String CODEC(ZSTD(3)),
    evidence_params Map(String, String) CODEC(ZSTD(3)),
    baseline      String CODEC(ZSTD(3)),
    flow_ids      Array(String) CODEC(ZSTD(3)),
    completeness  Float64,
    provisional   Bool,
    missing       Array(String) CODEC(ZSTD(3)),
    related       Array(String) CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (detector, alert, window_start, window_end)
SETTINGS fsync_after_insert = 1;
ALTER TABLE alert_findings ADD INDEX IF NOT EXISTS window_start window_start TYPE minmax GRANULARITY 1;

-- Windows of a detector with many an hour are recorded together, an hour a row:
-- for those the columns of one window hold sums, and these lists each window.
ALTER TABLE job_runs ADD COLUMN IF NOT EXISTS starts Array(UInt32) COMMENT 'starts of the windows, seconds since window_start, empty: one window' CODEC(Delta, ZSTD(1));
ALTER TABLE job_runs ADD COLUMN IF NOT EXISTS start_rows Array(UInt32) COMMENT 'rows of each, modulo 2^32' CODEC(ZSTD(1));
ALTER TABLE job_runs ADD COLUMN IF NOT EXISTS start_revisions Array(UInt32) COMMENT 'revision of each' CODEC(ZSTD(1));
ALTER TABLE job_runs ADD COLUMN IF NOT EXISTS start_closed Array(Bool) COMMENT 'closed of each' CODEC(ZSTD(1));

-- What people did about an incident: only ever added to.
CREATE TABLE IF NOT EXISTS incident_events
(
    alert     String COMMENT 'id in alerts',
    id        String COMMENT 'of the event',
    at        DateTime64(3, 'UTC'),
    who       String,
    kind      LowCardinality(String) COMMENT 'owner, state, verdict or comment',
    value     String COMMENT 'the owner, open, acknowledged or closed, true, benign or false, or the comment',
    comment   String COMMENT 'why',
    severity  LowCardinality(String) COMMENT 'of the incident at that time',
    revision  UInt32 COMMENT 'of the incident at that time'
)
ENGINE = MergeTree
ORDER BY (alert, at, id)
SETTINGS fsync_after_insert = 1;

-- Exclusions, with all that was ever done to them: only ever added to, the
-- newest revision of an id counts.
CREATE TABLE IF NOT EXISTS exclusions
(
    id         String,
    revision   UInt32 COMMENT 'from 1',
    at         DateTime64(3, 'UTC'),
    who        String COMMENT 'who did this',
    action     LowCardinality(String) COMMENT 'created, changed or removed',
    detectors  Array(String) COMMENT 'globs of names, empty: all',
    networks   Array(String) COMMENT 'addresses and networks, empty: all',
    side       LowCardinality(String) COMMENT 'whose address is meant: actor, victim, both, or empty: any',
    names      Array(String) COMMENT 'globs of server, host and domain names, empty: all',
    ports      Array(UInt16) COMMENT 'empty: all',
    ja4        Array(String) COMMENT 'empty: all',
    direction  LowCardinality(String) COMMENT 'outbound, inbound, internal or empty: any',
    owner      String COMMENT 'who answers for it',
    comment    String COMMENT 'why',
    expires    DateTime('UTC') COMMENT '1970: never'
)
ENGINE = MergeTree
ORDER BY (id, revision, at)
SETTINGS fsync_after_insert = 1;

-- Who of several analyzers judges and tells. A term is won by the first insert
-- with its token, the others are dropped as duplicates.
CREATE TABLE IF NOT EXISTS leases
(
    name      LowCardinality(String),
    term      UInt64 COMMENT 'from 1, grows with each change of the holder',
    beat      UInt64 COMMENT 'from 0, grows with each renewal',
    holder    String COMMENT 'host, process id and a random part',
    at        DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'clock of the server',
    until     DateTime64(3, 'UTC') COMMENT 'clock of the server, not later than at: given back'
)
ENGINE = MergeTree
ORDER BY (name, term, beat)
TTL toDateTime(at) + INTERVAL 7 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1

-- What was done by people and by rules, each entry with the hash of the one
-- before: only ever added to. An entry is numbered by the first insert with its
-- token, the others are dropped as duplicates.
CREATE TABLE IF NOT EXISTS audit_log
(
    seq      UInt64 COMMENT 'from 1, without gaps',
    at       DateTime64(3, 'UTC'),
    who      String COMMENT 'user, rule:NAME or system',
    action   LowCardinality(String) COMMENT 'respond.request, respond.undo, report.write …',
    object   String COMMENT 'what it was about, such as the id of a response action',
    detail   String COMMENT 'JSON' CODEC(ZSTD(3)),
    prev     String COMMENT 'hash of the entry before, of the first: empty',
    hash     String COMMENT 'hex of SHA-256 over prev and the columns before it, see analyzer/respond/audit'
)
ENGINE = MergeTree
ORDER BY seq
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1;

-- Steps of response actions: only ever added to, the newest of an id counts.
CREATE TABLE IF NOT EXISTS response_steps
(
    id       String COMMENT 'of the action',
    step     UInt32 COMMENT 'from 1',
    at       DateTime64(3, 'UTC'),
    state    LowCardinality(String) COMMENT 'requested, refused, dry_run, applying, active, failed, undo_requested, undoing, undone',
    kind     LowCardinality(String) COMMENT 'isolate or block',
    target   String COMMENT 'address or prefix',
    hook     String COMMENT 'name of the hook that does it, empty: chosen by kind',
    who      String COMMENT 'user or rule:NAME, of this step',
    why      String,
    alert    String COMMENT 'id in alerts, empty: none',
    seconds  UInt32 COMMENT 'how long it is to last',
    expires  DateTime64(3, 'UTC') COMMENT 'when it is undone, 1970: not in force',
    attempts UInt32 COMMENT 'at the state',
    note     String COMMENT 'why it was refused or failed, or what the hook said'
)
ENGINE = MergeTree
ORDER BY (id, step, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1;
ALTER TABLE response_steps ADD INDEX IF NOT EXISTS at at TYPE minmax GRANULARITY 1;

-- Reports that were written, so that each is written once. Read with FINAL.
CREATE TABLE IF NOT EXISTS reports_written
(
    kind     LowCardinality(String) COMMENT 'daily, weekly or monthly',
    start    DateTime('UTC') COMMENT 'of the period',
    end      DateTime('UTC'),
    target   String COMMENT 'dir, or the name of the mail',
    at       DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (kind, start, target)
SETTINGS fsync_after_insert = 1

-- Retention is the collector's: it drops whole partitions, by what they hold
-- and not by the server's clock, and says so here.

-- When the newest flow of each day of traffic was received. Retention runs from
-- then, so that old captures do not vanish on arrival. A repeated write changes nothing.
CREATE TABLE IF NOT EXISTS days_received
(
    day      Date COMMENT 'of flow starts, UTC',
    received SimpleAggregateFunction(max, DateTime('UTC')) COMMENT 'time in Kafka of the newest batch with flows of that day'
)
ENGINE = AggregatingMergeTree
ORDER BY day;

-- What all tables took on disk, once an hour: what the forecast is made of.
CREATE TABLE IF NOT EXISTS storage_samples
(
    time        DateTime('UTC'),
    table       LowCardinality(String) COMMENT 'system: the logs of ClickHouse itself',
    bytes       UInt64 COMMENT 'on disk',
    rows        UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (table, time)
TTL time + INTERVAL 400 DAY;

-- Partitions that retention has dropped.
CREATE TABLE IF NOT EXISTS retention_log
(
    time       DateTime64(3, 'UTC'),
    table      LowCardinality(String),
    partition  String COMMENT 'its day, YYYYMMDD, or month, YYYYMM',
    rows       UInt64,
    bytes      UInt64 COMMENT 'on disk',
    reason     LowCardinality(String) COMMENT 'age or budget'
)
ENGINE = MergeTree
ORDER BY time
SETTINGS fsync_after_insert = 1;

-- Legal holds: days that retention and erasure leave alone. Read with FINAL.
CREATE TABLE IF NOT EXISTS holds
(
    id        String,
    first_day Date,
    last_day  Date COMMENT 'inclusive',
    reason    String,
    owner     String COMMENT 'who asked for it',
    created   DateTime64(3, 'UTC'),
    released  DateTime64(3, 'UTC') COMMENT '1970: it holds',
    version   UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS fsync_after_insert = 1;

-- Erasures of a host's or person's data. The subject is kept as a salted hash:
-- who knows it can prove the erasure, others learn nothing. Read with FINAL.
CREATE TABLE IF NOT EXISTS erasures
(
    id        String,
    kind      LowCardinality(String) COMMENT 'address, user or name',
    salt      String,
    hash      String COMMENT 'hex of SHA-256(salt || kind || 0x00 || subject)',
    reason    String,
    owner     String COMMENT 'who asked for it',
    begun     DateTime64(3, 'UTC'),
    finished  DateTime64(3, 'UTC') COMMENT '1970: not yet, or not to the end',
    rows      Map(String, UInt64) COMMENT 'rows erased, by table',
    version   UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS fsync_after_insert = 1;

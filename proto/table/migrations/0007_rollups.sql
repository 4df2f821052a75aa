-- Rollups by hour and day, profiles of hosts, beacons, names and first sights.
-- A bucket is an hour (flows_1d: a day). The rows of a build carry its number
-- and count once rollup_builds names it the newest of its bucket.
--
-- Time to live runs from `received`, the newest arrival in Kafka of what is in a
-- row, so that the rollups of an old capture do not vanish as soon as made.

-- What a closed bucket was made of, so that it can be known later, when the raw
-- rows are gone, which batches it lacks.
CREATE TABLE IF NOT EXISTS rollup_covers
(
    bucket    DateTime('UTC') COMMENT 'hour',
    cover     UInt64 COMMENT 'number that rollup_builds refers to',
    probe     LowCardinality(String),
    epoch     UInt64,
    worker    UInt16,
    first     Array(UInt64) COMMENT 'runs of batch numbers that are in: first of each',
    last      Array(UInt64) COMMENT 'and last of each',
    rows      UInt64 COMMENT 'rows of flows that they have in the bucket'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, cover, probe, epoch, worker)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE rollup_builds ADD COLUMN IF NOT EXISTS cover UInt64 DEFAULT 0 COMMENT 'of rollup_covers, once the bucket is closed and nothing is missing, 0 while provisional';

-- Hours of a batch, so that the batches of an hour are found without reading all.
ALTER TABLE batches ADD COLUMN IF NOT EXISTS hours Array(UInt32) MATERIALIZED arrayDistinct(arrayMap(m -> intDiv(m, 60), minutes)) COMMENT 'Unix time / 3600 of flow starts';
ALTER TABLE batches ADD INDEX IF NOT EXISTS hours hours TYPE bloom_filter(0.01) GRANULARITY 1;
ALTER TABLE batches MATERIALIZE INDEX IF EXISTS hours;

-- Rows of raw that another probe saw more of, while a build is made.
CREATE TABLE IF NOT EXISTS rollup_secondary
(
    build     UInt64,
    id        UInt64 COMMENT 'cityHash64(probe, epoch, worker, seq, row)',
    made      DateTime('UTC') DEFAULT now()
)
ENGINE = MergeTree
ORDER BY (build, id)
TTL made + INTERVAL 1 HOUR
SETTINGS ttl_only_drop_parts = 1;

-- Builders of the version before name no columns in their insert: to them the new
-- ones do not exist.
ALTER TABLE flows_1m_builds ADD COLUMN IF NOT EXISTS primary_observer Bool MATERIALIZED true COMMENT 'of all probes of the site that saw the flow this one saw most packets';
ALTER TABLE flows_1m_builds ADD COLUMN IF NOT EXISTS received DateTime('UTC') MATERIALIZED now() COMMENT 'newest arrival in Kafka';
ALTER TABLE flows_1m_builds ADD INDEX IF NOT EXISTS minute minute TYPE minmax GRANULARITY 1;
ALTER TABLE flows_1m_builds MATERIALIZE INDEX IF EXISTS minute;
ALTER TABLE flows_1m_builds MODIFY TTL received + INTERVAL 180 DAY;
ALTER TABLE flows_1m_builds MODIFY SETTING ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS flows_1h_builds
(
    bucket            DateTime('UTC'),
    build             UInt64,
    hour              DateTime('UTC'),
    probe             LowCardinality(String),
    site              LowCardinality(String),
    src_ip            IPv6,
    dst_ip            IPv6,
    dst_port          UInt16,
    protocol          UInt8,
    app               LowCardinality(String),
    primary_observer  Bool,
    flows             UInt64 CODEC(T64, ZSTD(1)),
    segments          UInt64 CODEC(T64, ZSTD(1)),
    failed            UInt64 CODEC(T64, ZSTD(1)),
    src_packets       UInt64 CODEC(T64, ZSTD(1)),
    dst_packets       UInt64 CODEC(T64, ZSTD(1)),
    src_bytes         UInt64 CODEC(T64, ZSTD(1)),
    dst_bytes         UInt64 CODEC(T64, ZSTD(1)),
    src_frame_bytes   UInt64 CODEC(T64, ZSTD(1)),
    dst_frame_bytes   UInt64 CODEC(T64, ZSTD(1)),
    src_payload_bytes UInt64 CODEC(T64, ZSTD(1)),
    dst_payload_bytes UInt64 CODEC(T64, ZSTD(1)),
    received          DateTime('UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, build, src_ip, dst_ip, dst_port)
TTL received + INTERVAL 400 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS flows_1d_builds
(
    bucket            DateTime('UTC'),
    build             UInt64,
    day               DateTime('UTC'),
    probe             LowCardinality(String),
    site              LowCardinality(String),
    src_ip            IPv6,
    dst_ip            IPv6,
    dst_port          UInt16,
    protocol          UInt8,
    app               LowCardinality(String),
    primary_observer  Bool,
    flows             UInt64 CODEC(T64, ZSTD(1)),
    segments          UInt64 CODEC(T64, ZSTD(1)),
    failed            UInt64 CODEC(T64, ZSTD(1)),
    src_packets       UInt64 CODEC(T64, ZSTD(1)),
    dst_packets       UInt64 CODEC(T64, ZSTD(1)),
    src_bytes         UInt64 CODEC(T64, ZSTD(1)),
    dst_bytes         UInt64 CODEC(T64, ZSTD(1)),
    src_frame_bytes   UInt64 CODEC(T64, ZSTD(1)),
    dst_frame_bytes   UInt64 CODEC(T64, ZSTD(1)),
    src_payload_bytes UInt64 CODEC(T64, ZSTD(1)),
    dst_payload_bytes UInt64 CODEC(T64, ZSTD(1)),
    received          DateTime('UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, build, src_ip, dst_ip, dst_port)
TTL received + INTERVAL 1830 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS hosts_1h_builds
(
    bucket                 DateTime('UTC'),
    build                  UInt64,
    probe                  LowCardinality(String),
    site                   LowCardinality(String),
    host                   IPv6,
    role                   LowCardinality(String),
    primary_observer       Bool,
    flows                  UInt64 CODEC(T64, ZSTD(1)),
    segments               UInt64 CODEC(T64, ZSTD(1)),
    failed                 UInt64 CODEC(T64, ZSTD(1)),
    sent_packets           UInt64 CODEC(T64, ZSTD(1)),
    received_packets       UInt64 CODEC(T64, ZSTD(1)),
    sent_bytes             UInt64 CODEC(T64, ZSTD(1)),
    received_bytes         UInt64 CODEC(T64, ZSTD(1)),
    sent_payload_bytes     UInt64 CODEC(T64, ZSTD(1)),
    received_payload_bytes UInt64 CODEC(T64, ZSTD(1)),
    app_errors             UInt64 CODEC(T64, ZSTD(1)),
    dns_queries            UInt64 CODEC(T64, ZSTD(1)),
    dns_failed             UInt64 CODEC(T64, ZSTD(1)),
    peers                  AggregateFunction(uniqCombined(14), IPv6),
    failed_peers           AggregateFunction(uniqCombined(14), IPv6),
    ports                  AggregateFunction(uniqCombined(14), UInt32),
    failed_ports           AggregateFunction(uniqCombined(14), UInt32),
    names                  AggregateFunction(uniqCombined(14), String),
    apps                   Array(String),
    first                  DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    last                   DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    received               DateTime('UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, build, host)
TTL received + INTERVAL 400 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS beacons_1h_builds
(
    bucket            DateTime('UTC'),
    build             UInt64,
    probe             LowCardinality(String),
    site              LowCardinality(String),
    src_ip            IPv6,
    dst_ip            IPv6,
    dst_port          UInt16,
    protocol          UInt8,
    name              String,
    ja4               LowCardinality(String),
    app               LowCardinality(String),
    primary_observer  Bool,
    connections       UInt64 CODEC(T64, ZSTD(1)),
    src_bytes         UInt64 CODEC(T64, ZSTD(1)),
    dst_bytes         UInt64 CODEC(T64, ZSTD(1)),
    times             Array(UInt32) CODEC(Delta, ZSTD(1)),
    sizes             Array(UInt32) CODEC(ZSTD(1)),
    first             DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    last              DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    received          DateTime('UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(bucket)
ORDER BY (bucket, build, src_ip, dst_ip, dst_port)
TTL received + INTERVAL 100 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS names_1h_builds
(
    bucket            DateTime('UTC'),
    build             UInt64,
    probe             LowCardinality(String),
    site              LowCardinality(String),
    source            LowCardinality(String),
    name              String,
    address           IPv6,
    records           UInt64 CODEC(T64, ZSTD(1)),
    clients           AggregateFunction(uniqCombined(12), IPv6),
    first             DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    last              DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    received          DateTime('UTC') CODEC(Delta, ZSTD(1)),
    INDEX name name TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(bucket)
ORDER BY (address, name, bucket, build)
TTL received + INTERVAL 400 DAY
-- An address is in few granules of every day.
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- Least and greatest are the same however often a row is added, so this one needs
-- no builds.
CREATE TABLE IF NOT EXISTS first_seen_values
(
    kind              LowCardinality(String),
    value             String,
    site              LowCardinality(String),
    probe             LowCardinality(String),
    first             SimpleAggregateFunction(min, DateTime64(9, 'UTC')),
    last              SimpleAggregateFunction(max, DateTime64(9, 'UTC')),
    received          SimpleAggregateFunction(max, DateTime('UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (kind, value, site, probe)
TTL received + INTERVAL 1100 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What readers see: the newest build of each bucket.
CREATE OR REPLACE VIEW flows_1m
(
    minute DateTime('UTC') COMMENT 'of the start of the segment',
    probe LowCardinality(String) COMMENT 'which saw it, several probes that saw one flow have a row each',
    site LowCardinality(String),
    src_ip IPv6 COMMENT 'initiator',
    dst_ip IPv6 COMMENT 'responder',
    dst_port UInt16,
    protocol UInt8,
    app LowCardinality(String),
    primary_observer Bool COMMENT 'of all probes of the site that saw the flow at the same time this one saw most packets of it: sums over these count each flow once',
    flows UInt64 COMMENT 'connections: segment 0',
    segments UInt64 COMMENT 'rows of flows',
    failed UInt64 COMMENT 'connections without payload from the responder in their first segment',
    src_packets UInt64, dst_packets UInt64,
    src_bytes UInt64 COMMENT 'IP octets of the initiator', dst_bytes UInt64 COMMENT 'IP octets of the responder',
    src_frame_bytes UInt64, dst_frame_bytes UInt64,
    src_payload_bytes UInt64, dst_payload_bytes UInt64,
    flows_once UInt64 COMMENT 'flows of the primary observer, else 0',
    packets_once UInt64 COMMENT 'packets, both directions, of the primary observer, else 0',
    bytes_once UInt64 COMMENT 'IP octets, both directions, of the primary observer, else 0',
    provisional Bool COMMENT 'the bucket is not closed: more may come'
)
AS SELECT minute, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer, flows, segments, failed,
       src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes,
       if(primary_observer, flows, 0) AS flows_once, if(primary_observer, src_packets + dst_packets, 0) AS packets_once,
       if(primary_observer, src_bytes + dst_bytes, 0) AS bytes_once, bucket IN (SELECT bucket FROM rollup_builds WHERE rollup = 'flows_1m' GROUP BY bucket HAVING argMax(cover, (build, cover)) = 0) AS provisional
FROM flows_1m_builds
WHERE (bucket, build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'flows_1m' GROUP BY bucket)
COMMENT 'Traffic by minute, pair, service and application: sums equal those of flows. A key may have several rows: add them up';

CREATE OR REPLACE VIEW flows_1h
(
    hour DateTime('UTC') COMMENT 'of the start of the segment',
    probe LowCardinality(String) COMMENT 'which saw it, several probes that saw one flow have a row each',
    site LowCardinality(String),
    src_ip IPv6 COMMENT 'initiator',
    dst_ip IPv6 COMMENT 'responder',
    dst_port UInt16,
    protocol UInt8,
    app LowCardinality(String),
    primary_observer Bool COMMENT 'of all probes of the site that saw the flow at the same time this one saw most packets of it: sums over these count each flow once',
    flows UInt64 COMMENT 'connections: segment 0',
    segments UInt64 COMMENT 'rows of flows',
    failed UInt64 COMMENT 'connections without payload from the responder in their first segment',
    src_packets UInt64, dst_packets UInt64,
    src_bytes UInt64 COMMENT 'IP octets of the initiator', dst_bytes UInt64 COMMENT 'IP octets of the responder',
    src_frame_bytes UInt64, dst_frame_bytes UInt64,
    src_payload_bytes UInt64, dst_payload_bytes UInt64,
    flows_once UInt64 COMMENT 'flows of the primary observer, else 0',
    packets_once UInt64 COMMENT 'packets, both directions, of the primary observer, else 0',
    bytes_once UInt64 COMMENT 'IP octets, both directions, of the primary observer, else 0',
    provisional Bool COMMENT 'the bucket is not closed: more may come'
)
AS SELECT bucket AS hour, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer, flows, segments, failed,
       src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes,
       if(primary_observer, flows, 0) AS flows_once, if(primary_observer, src_packets + dst_packets, 0) AS packets_once,
       if(primary_observer, src_bytes + dst_bytes, 0) AS bytes_once, bucket IN (SELECT bucket FROM rollup_builds WHERE rollup = 'flows_1h' GROUP BY bucket HAVING argMax(cover, (build, cover)) = 0) AS provisional
FROM flows_1h_builds
WHERE (bucket, build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'flows_1h' GROUP BY bucket)
COMMENT 'Traffic by hour, pair, service and application: sums equal those of flows. A key may have several rows: add them up';

CREATE OR REPLACE VIEW flows_1d
(
    day DateTime('UTC') COMMENT 'of the start of the segment, UTC',
    probe LowCardinality(String) COMMENT 'which saw it, several probes that saw one flow have a row each',
    site LowCardinality(String),
    src_ip IPv6 COMMENT 'initiator',
    dst_ip IPv6 COMMENT 'responder',
    dst_port UInt16,
    protocol UInt8,
    app LowCardinality(String),
    primary_observer Bool COMMENT 'of all probes of the site that saw the flow at the same time this one saw most packets of it: sums over these count each flow once',
    flows UInt64 COMMENT 'connections: segment 0',
    segments UInt64 COMMENT 'rows of flows',
    failed UInt64 COMMENT 'connections without payload from the responder in their first segment',
    src_packets UInt64, dst_packets UInt64,
    src_bytes UInt64 COMMENT 'IP octets of the initiator', dst_bytes UInt64 COMMENT 'IP octets of the responder',
    src_frame_bytes UInt64, dst_frame_bytes UInt64,
    src_payload_bytes UInt64, dst_payload_bytes UInt64,
    flows_once UInt64 COMMENT 'flows of the primary observer, else 0',
    packets_once UInt64 COMMENT 'packets, both directions, of the primary observer, else 0',
    bytes_once UInt64 COMMENT 'IP octets, both directions, of the primary observer, else 0',
    provisional Bool COMMENT 'the bucket is not closed: more may come'
)
AS SELECT bucket AS day, probe, site, src_ip, dst_ip, dst_port, protocol, app, primary_observer, flows, segments, failed,
       src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes,
       if(primary_observer, flows, 0) AS flows_once, if(primary_observer, src_packets + dst_packets, 0) AS packets_once,
       if(primary_observer, src_bytes + dst_bytes, 0) AS bytes_once, bucket IN (SELECT bucket FROM rollup_builds WHERE rollup = 'flows_1d' GROUP BY bucket HAVING argMax(cover, (build, cover)) = 0) AS provisional
FROM flows_1d_builds
WHERE (bucket, build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'flows_1d' GROUP BY bucket)
COMMENT 'Traffic by day, pair, service and application: sums equal those of flows. A key may have several rows: add them up';

CREATE OR REPLACE VIEW hosts_1h
(
    hour DateTime('UTC'),
    probe LowCardinality(String) COMMENT 'which saw it',
    site LowCardinality(String),
    host IPv6,
    role LowCardinality(String) COMMENT 'initiator: of the connections it began, responder: of those it was asked for',
    primary_observer Bool COMMENT 'as in flows_1h',
    flows UInt64 COMMENT 'connections', segments UInt64 COMMENT 'rows of flows', failed UInt64 COMMENT 'connections without payload from the responder in their first segment',
    sent_packets UInt64 COMMENT 'by the host', received_packets UInt64 COMMENT 'by the host',
    sent_bytes UInt64 COMMENT 'IP octets', received_bytes UInt64 COMMENT 'IP octets',
    sent_payload_bytes UInt64, received_payload_bytes UInt64,
    app_errors UInt64 COMMENT 'answers that say failure', dns_queries UInt64, dns_failed UInt64 COMMENT 'queries with an rcode other than 0',
    peers AggregateFunction(uniqCombined(14), IPv6) COMMENT 'the other ends: uniqCombinedMerge(14)(peers)',
    failed_peers AggregateFunction(uniqCombined(14), IPv6) COMMENT 'those of failed connections',
    ports AggregateFunction(uniqCombined(14), UInt32) COMMENT 'protocol * 65536 + dst_port',
    failed_ports AggregateFunction(uniqCombined(14), UInt32) COMMENT 'those of failed connections',
    names AggregateFunction(uniqCombined(14), String) COMMENT 'server names of TLS and QUIC',
    apps Array(String) COMMENT 'up to 64',
    first DateTime64(9, 'UTC'), last DateTime64(9, 'UTC'),
    provisional Bool COMMENT 'the hour is not closed: more may come'
)
AS SELECT bucket AS hour, probe, site, host, role, primary_observer, flows, segments, failed, sent_packets, received_packets, sent_bytes, received_bytes,
       sent_payload_bytes, received_payload_bytes, app_errors, dns_queries, dns_failed, peers, failed_peers, ports, failed_ports, names, apps, first, last,
       bucket IN (SELECT bucket FROM rollup_builds WHERE rollup = 'hosts_1h' GROUP BY bucket HAVING argMax(cover, (build, cover)) = 0) AS provisional
FROM hosts_1h_builds
WHERE (bucket, build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'hosts_1h' GROUP BY bucket)
COMMENT 'What each host did in each hour, as initiator and as responder. Add up over rows with primary_observer, merge the states';

CREATE OR REPLACE VIEW beacons_1h
(
    hour DateTime('UTC'),
    probe LowCardinality(String), site LowCardinality(String),
    src_ip IPv6, dst_ip IPv6, dst_port UInt16, protocol UInt8,
    name String COMMENT 'server name of TLS or QUIC, else host of HTTP, lower case, may be empty',
    ja4 LowCardinality(String), app LowCardinality(String),
    primary_observer Bool COMMENT 'as in flows_1h',
    connections UInt64 COMMENT 'begun in the hour, whose start was seen, with payload in both directions, TCP, UDP and SCTP, ports of DNS, DHCP and NTP left out',
    src_bytes UInt64 COMMENT 'IP octets of the first segments', dst_bytes UInt64,
    times Array(UInt32) COMMENT 'Unix times of the first 720 of them, in order',
    sizes Array(UInt32) COMMENT 'and src_bytes of each',
    first DateTime64(9, 'UTC'), last DateTime64(9, 'UTC') COMMENT 'end of the last',
    provisional Bool COMMENT 'the hour is not closed: more may come'
)
AS SELECT bucket AS hour, probe, site, src_ip, dst_ip, dst_port, protocol, name, ja4, app, primary_observer, connections, src_bytes, dst_bytes, times, sizes, first, last,
       bucket IN (SELECT bucket FROM rollup_builds WHERE rollup = 'beacons_1h' GROUP BY bucket HAVING argMax(cover, (build, cover)) = 0) AS provisional
FROM beacons_1h_builds
WHERE (bucket, build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'beacons_1h' GROUP BY bucket)
COMMENT 'When each client called each name, address and port: join the lists of the hours with arraySort(groupArrayArray(times)) where primary_observer. connections beyond length(times) were left out of the lists';

CREATE OR REPLACE VIEW names_1h
(
    hour DateTime('UTC'),
    probe LowCardinality(String), site LowCardinality(String),
    source LowCardinality(String) COMMENT 'dns: answer of a query, ptr: answer of a reverse query, sni: server name of TLS or QUIC, http: host of a request',
    name String COMMENT 'lower case',
    address IPv6,
    records UInt64 COMMENT 'rows of flows that said so',
    clients AggregateFunction(uniqCombined(12), IPv6) COMMENT 'who asked: uniqCombinedMerge(12)(clients)',
    first DateTime64(9, 'UTC'), last DateTime64(9, 'UTC'),
    provisional Bool COMMENT 'the hour is not closed: more may come'
)
AS SELECT bucket AS hour, probe, site, source, name, address, records, clients, first, last,
       bucket IN (SELECT bucket FROM rollup_builds WHERE rollup = 'names_1h' GROUP BY bucket HAVING argMax(cover, (build, cover)) = 0) AS provisional
FROM names_1h_builds
WHERE (bucket, build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'names_1h' GROUP BY bucket)
COMMENT 'Names and addresses by hour. Of DNS only flows with one name asked for';

CREATE OR REPLACE VIEW names
(
    site LowCardinality(String),
    source LowCardinality(String) COMMENT 'dns, ptr, sni or http, see names_1h',
    name String COMMENT 'lower case',
    address IPv6,
    first DateTime64(9, 'UTC'), last DateTime64(9, 'UTC'),
    records UInt64 COMMENT 'rows of flows that said so, of the probe that saw most of them',
    clients UInt64 COMMENT 'how many asked, about'
)
AS SELECT site, source, name, address, min(f) AS first, max(l) AS last, max(n) AS records, uniqCombinedMerge(12)(c) AS clients
FROM
(
    SELECT site, probe, source, name, address, min(first) AS f, max(last) AS l, sum(records) AS n, uniqCombinedMergeState(12)(clients) AS c
    FROM names_1h_builds
    WHERE (bucket, build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'names_1h' GROUP BY bucket)
    GROUP BY site, probe, source, name, address
)
GROUP BY site, source, name, address
COMMENT 'Names and addresses over all time: ask with an address, or with a name';

CREATE OR REPLACE VIEW first_seen
(
    kind LowCardinality(String) COMMENT 'host, service, login, host_app, sni, ja3, ja4, hassh, hassh_server, certificate, user_agent or user',
    value String COMMENT 'host: address, service: address protocol/port that answered, login: client server port, for ports of remote administration, host_app: address application, user: domain\\user, else as in flows',
    site LowCardinality(String),
    probe LowCardinality(String),
    first DateTime64(9, 'UTC'), last DateTime64(9, 'UTC')
)
AS SELECT kind, value, site, probe, min(f.first) AS first, max(f.last) AS last
FROM first_seen_values AS f
GROUP BY kind, value, site, probe
COMMENT 'What was seen first and last when, by site and probe. Pairs of hosts are in flows_1d. At most a million values of a kind in a build';

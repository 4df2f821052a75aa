-- Sweeps: indicators that are new, looked for in all that is stored. A sweep
-- works in parts and notes each, so that it goes on where it was cut short.
CREATE TABLE IF NOT EXISTS retro_sweeps
(
    id          String,
    source      String COMMENT 'indicators: what threat lists brought, or file:NAME of a list that somebody gave',
    who         String COMMENT 'asked for it, empty: nobody, it was new',
    lists       Array(String),
    indicators  UInt64,
    state       LowCardinality(String) COMMENT 'asked, running, done or failed',
    error       String,
    parts       UInt32 COMMENT 'pieces of history to look through',
    parts_done  UInt32,
    hits        UInt64 COMMENT 'rows of retro_hits',
    hosts       UInt64 COMMENT 'that had contact',
    began       DateTime64(3, 'UTC') COMMENT 'wall clock. What is received later is matched when it is stored: flows.threats',
    updated     DateTime64(3, 'UTC') COMMENT 'wall clock',
    took_ms     UInt64 COMMENT 'of work, all runs together'
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY id
SETTINGS fsync_after_insert = 1;

-- What a sweep looks for.
CREATE TABLE IF NOT EXISTS retro_indicators
(
    sweep      String,
    kind       LowCardinality(String) COMMENT 'as in indicators',
    value      String,
    list       LowCardinality(String),
    confidence UInt8 COMMENT '1 to 100, 0 not said',
    net        IPv6 COMMENT 'of an address or network: its first address',
    bits       UInt8 COMMENT 'of an address or network: its length as one of IPv6, 0: neither',
    made       DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (sweep, kind, value, list)
TTL made + INTERVAL 90 DAY
SETTINGS fsync_after_insert = 1;

-- Indicators of the threat lists that have been looked for. One that left its
-- lists is looked for again when it comes back.
CREATE TABLE IF NOT EXISTS retro_swept
(
    kind   LowCardinality(String),
    value  String,
    list   LowCardinality(String),
    sweep  String,
    until  DateTime64(3, 'UTC') COMMENT 'all that was received before has been looked through',
    gone   Bool COMMENT 'the lists have it no more',
    at     DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (kind, value, list)
SETTINGS fsync_after_insert = 1;

-- What a sweep can say of each day: of which tables, and how complete they are.
CREATE TABLE IF NOT EXISTS retro_days
(
    sweep         String,
    day           Date COMMENT 'of flow starts, UTC. 1970-01-01: tables that are not by day',
    tables        Array(LowCardinality(String)) COMMENT 'looked through',
    flow_rows     UInt64 COMMENT 'rows of flows stored when the sweep began',
    rollup_rows   UInt64 COMMENT 'rows of flows that the newest builds of flows_1h, or of flows_1d, are made of',
    promised_rows UInt64 COMMENT 'rows of flows that batches tell of, 0 where batches are gone, too',
    seen_packets  UInt64 COMMENT 'by the ledger',
    flow_packets  UInt64 COMMENT 'of them, in flows',
    dropped       Bool COMMENT 'retention has dropped flows of the day',
    verdict       LowCardinality(String) COMMENT 'complete, partial, addresses (of flows nothing is left, rollups know pairs only) or lost (nothing is left)',
    updated       DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY (sweep, day);

-- Pieces of history that a sweep has looked through.
CREATE TABLE IF NOT EXISTS retro_parts
(
    sweep   String,
    source  LowCardinality(String) COMMENT 'flows, flows_1h, flows_1d, names_1h or first_seen',
    first   Date,
    last    Date COMMENT 'inclusive',
    rows    UInt64 COMMENT 'that the table has there',
    matches UInt64 COMMENT 'values that are on a list',
    took_ms UInt64,
    done    DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(done)
ORDER BY (sweep, source, first)
SETTINGS fsync_after_insert = 1;

-- Values of stored traffic that indicators name, by part.
CREATE TABLE IF NOT EXISTS retro_matches
(
    sweep      String,
    source     LowCardinality(String),
    first      Date,
    field      LowCardinality(String) COMMENT 'address, or a column of flows',
    seen       String COMMENT 'as it is in the traffic',
    kind       LowCardinality(String),
    value      String COMMENT 'of the indicator',
    list       LowCardinality(String),
    confidence UInt8,
    made       DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (sweep, source, first, field, seen, kind, value, list)
TTL made + INTERVAL 30 DAY;

-- Who had contact with what, by part. Read with FINAL.
CREATE TABLE IF NOT EXISTS retro_hits
(
    sweep      String,
    source     LowCardinality(String) COMMENT 'table it is from',
    part       Date COMMENT 'first day of the part',
    list       LowCardinality(String),
    kind       LowCardinality(String),
    value      String COMMENT 'of the indicator',
    field      LowCardinality(String) COMMENT 'src_ip, dst_ip, tls_sni, http_host, dns_names, ja3, ja4, hassh, hassh_server or tls_cert_sha256',
    seen       String COMMENT 'as it is in the traffic',
    host       IPv6 COMMENT 'the other end of an address, the client of anything else, :: where that is not stored any more',
    first      DateTime64(9, 'UTC') COMMENT 'of rollups: to the hour or day',
    last       DateTime64(9, 'UTC'),
    flows      UInt64 COMMENT 'connections, of the probe that saw most',
    answered   UInt64 COMMENT 'of them, with payload of the responder',
    src_bytes  UInt64 COMMENT 'IP octets of the initiators',
    dst_bytes  UInt64 COMMENT 'IP octets of the responders',
    ports      Array(UInt16) COMMENT 'of the responders, up to 8',
    confidence UInt8 COMMENT '1 to 100, 0 not said',
    at         DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (sweep, source, part, list, kind, value, field, seen, host)
SETTINGS fsync_after_insert = 1;

-- What each host did with what is on a list, by the newest sweep of the indicator.
CREATE OR REPLACE VIEW retro_contacts AS
SELECT h.list AS list, h.kind AS kind, h.value AS value, h.field AS field, h.seen AS seen, h.host AS host, min(h.first) AS first, max(h.last) AS last,
       sum(h.flows) AS flows, sum(h.answered) AS answered, sum(h.src_bytes) AS src_bytes, sum(h.dst_bytes) AS dst_bytes,
       arraySort(groupUniqArrayArray(8)(h.ports)) AS ports, groupUniqArray(h.source) AS sources,
       max(h.confidence) AS confidence, any(h.sweep) AS sweep
FROM (SELECT * FROM retro_hits FINAL) AS h
INNER JOIN (SELECT list, kind, value, argMax(sweep, at) AS newest FROM retro_hits GROUP BY list, kind, value) AS n
ON n.list = h.list AND n.kind = h.kind AND n.value = h.value
WHERE h.sweep = n.newest
GROUP BY h.list, h.kind, h.value, h.field, h.seen, h.host;

-- SELECT * FROM contacts(ip = '10.0.0.5', from = '2026-11-01', to = '2026-12-01'):
-- who talked to it, in which direction, by the hour.
CREATE VIEW IF NOT EXISTS contacts AS
SELECT peer, direction, min(hour) AS first_hour, max(hour) AS last_hour, uniqExact(toDate(hour)) AS days, sum(flows_once) AS flows, sum(failed_once) AS failed,
       sum(sent) AS sent_bytes, sum(received) AS received_bytes, arraySort(groupUniqArray(16)(service)) AS services, arraySort(groupUniqArrayIf(16)(app, app != '')) AS apps
FROM
(
    SELECT hour, dst_ip AS peer, 'asked' AS direction, flows_once, if(primary_observer, failed, 0) AS failed_once, if(primary_observer, src_bytes, 0) AS sent,
           if(primary_observer, dst_bytes, 0) AS received, concat(toString(protocol), '/', toString(dst_port)) AS service, toString(app) AS app
    FROM flows_1h
    WHERE src_ip = toIPv6({ip:String}) AND hour >= parseDateTimeBestEffort({from:String}, 'UTC') AND hour < parseDateTimeBestEffort({to:String}, 'UTC')
    UNION ALL
    SELECT hour, src_ip AS peer, 'was asked by' AS direction, flows_once, if(primary_observer, failed, 0) AS failed_once, if(primary_observer, dst_bytes, 0) AS sent,
           if(primary_observer, src_bytes, 0) AS received, concat(toString(protocol), '/', toString(dst_port)) AS service, toString(app) AS app
    FROM flows_1h
    WHERE dst_ip = toIPv6({ip:String}) AND src_ip != toIPv6({ip:String})
      AND hour >= parseDateTimeBestEffort({from:String}, 'UTC') AND hour < parseDateTimeBestEffort({to:String}, 'UTC')
)
GROUP BY peer, direction
ORDER BY flows DESC, peer, direction;

-- SELECT * FROM first_times(what = 'evil.example'): when a value, or what an
-- address did, was seen first and last, over all sites and probes.
CREATE VIEW IF NOT EXISTS first_times AS
SELECT kind, value, min(f.first) AS first, max(f.last) AS last, arraySort(groupUniqArray(site)) AS sites, arraySort(groupUniqArray(probe)) AS probes
FROM first_seen_values AS f
WHERE value = {what:String} OR startsWith(value, concat({what:String}, ' '))
GROUP BY kind, value
ORDER BY first, kind, value;

-- SELECT * FROM host_timeline(ip = '10.0.0.5', from = '2026-11-01', to = '2026-12-01'):
-- what became of an address, in the order of time.
CREATE VIEW IF NOT EXISTS host_timeline AS
SELECT time, kind, what, detail, until
FROM
(
    SELECT min(f.first) AS time, multiIf(kind = 'host', 'first seen', kind = 'service', 'new service', kind = 'login', 'new login', 'new application') AS kind,
           if(kind = 'host', value, substring(value, position(value, ' ') + 1)) AS what, '' AS detail, max(f.last) AS until
    FROM (SELECT kind, value, first, last FROM first_seen_values
          WHERE kind IN ('host', 'service', 'login', 'host_app') AND (value = {ip:String} OR startsWith(value, concat({ip:String}, ' ')))) AS f
    GROUP BY kind, value
    UNION ALL
    SELECT toDateTime64(first, 9, 'UTC'), 'name', name, source, toDateTime64(last, 9, 'UTC') FROM assets WHERE ip = toIPv6({ip:String}) AND name != ''
    UNION ALL
    SELECT toDateTime64(first, 9, 'UTC'), 'user', if(domain = '', user, concat(domain, '\\', user)), arrayStringConcat(sources, ' '), toDateTime64(last, 9, 'UTC')
    FROM users WHERE ip = toIPv6({ip:String})
    UNION ALL
    SELECT min(n.first), 'called by name', n.name, n.source, max(n.last) FROM names AS n WHERE n.address = toIPv6({ip:String}) GROUP BY n.name, n.source
    UNION ALL
    SELECT start, 'alert', title, concat(severity, ' ', detector, ' ', id), end FROM (SELECT * FROM alerts FINAL)
    WHERE NOT withdrawn AND (actor = {ip:String} OR victim = {ip:String} OR arrayExists(e -> substring(e, position(e, '=') + 1) = {ip:String}, entities))
    UNION ALL
    SELECT first, 'indicator', seen, concat(list, ' ', kind, ' ', value), last FROM retro_contacts WHERE host = toIPv6({ip:String})
    UNION ALL
    SELECT toDateTime64(min(hour), 9, 'UTC'), 'new peer', replaceRegexpOne(toString(peer), '^::ffff:', ''), arrayStringConcat(groupUniqArray(4)(service), ' '), toDateTime64(max(hour), 9, 'UTC')
    FROM
    (
        SELECT hour, dst_ip AS peer, concat(toString(protocol), '/', toString(dst_port)) AS service FROM flows_1h WHERE src_ip = toIPv6({ip:String})
        UNION ALL
        SELECT hour, src_ip AS peer, concat(toString(protocol), '/', toString(dst_port)) AS service FROM flows_1h WHERE dst_ip = toIPv6({ip:String}) AND failed < flows
    )
    GROUP BY peer
)
WHERE time < parseDateTimeBestEffort({to:String}, 'UTC') AND until >= parseDateTimeBestEffort({from:String}, 'UTC')
ORDER BY time, kind, what

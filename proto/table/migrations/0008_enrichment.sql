-- Enrichment: what is known about a flow besides what the probe saw. The columns
-- stand between the identity of a row and its record, and are no part of either:
-- they may be written again at any time (tapwatch-collector enrich).
ALTER TABLE flows
    ADD COLUMN IF NOT EXISTS enrichment UInt64 COMMENT 'version of the data that the next columns come from, 0: never enriched' CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS src_asn UInt32 COMMENT 'autonomous system, 0 unknown' CODEC(ZSTD(1)) AFTER enrichment,
    ADD COLUMN IF NOT EXISTS dst_asn UInt32 CODEC(ZSTD(1)) AFTER src_asn,
    ADD COLUMN IF NOT EXISTS src_country LowCardinality(String) COMMENT 'ISO 3166-1 alpha-2, empty unknown' AFTER dst_asn,
    ADD COLUMN IF NOT EXISTS dst_country LowCardinality(String) AFTER src_country,
    ADD COLUMN IF NOT EXISTS src_city LowCardinality(String) COMMENT 'English name, empty unknown' AFTER dst_country,
    ADD COLUMN IF NOT EXISTS dst_city LowCardinality(String) AFTER src_city,
    ADD COLUMN IF NOT EXISTS src_network LowCardinality(String) COMMENT 'name of the own network, empty none' AFTER dst_city,
    ADD COLUMN IF NOT EXISTS dst_network LowCardinality(String) AFTER src_network,
    ADD COLUMN IF NOT EXISTS src_role LowCardinality(String) COMMENT 'role of that network' AFTER dst_network,
    ADD COLUMN IF NOT EXISTS dst_role LowCardinality(String) AFTER src_role,
    ADD COLUMN IF NOT EXISTS threats Array(LowCardinality(String)) COMMENT 'threat lists that the flow is on, at most 8' CODEC(ZSTD(1)) AFTER dst_role,
    -- what has just arrived is found without reading what was there before
    ADD INDEX IF NOT EXISTS received received TYPE minmax GRANULARITY 1,
    ADD INDEX IF NOT EXISTS threats threats TYPE bloom_filter(0.01) GRANULARITY 1;

-- Which version of which data the tables below hold.
CREATE TABLE IF NOT EXISTS enrich_state
(
    name    LowCardinality(String) COMMENT 'table, or task',
    version UInt64,
    until   DateTime64(3, 'UTC') COMMENT 'batches stored before have been looked at',
    updated DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY name;

CREATE TABLE IF NOT EXISTS networks
(
    prefix  String COMMENT '10.0.0.0/8, 2001:db8::/32',
    site    LowCardinality(String) COMMENT 'empty: any',
    name    LowCardinality(String),
    role    LowCardinality(String),
    updated DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY (prefix, site);

-- dictGet('networks_trie', 'name', toIPv6('10.1.2.3')). ClickHouse reads the
-- table as its user `default`, where another is needed see collector/enrich/README.md.
CREATE DICTIONARY IF NOT EXISTS networks_trie
(
    prefix String,
    name   String DEFAULT '',
    role   String DEFAULT '',
    site   String DEFAULT ''
)
PRIMARY KEY prefix
SOURCE(CLICKHOUSE(TABLE 'networks'))
LAYOUT(IP_TRIE)
LIFETIME(MIN 10 MAX 20);

CREATE TABLE IF NOT EXISTS asns
(
    asn     UInt32,
    name    String,
    updated DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY asn;

CREATE TABLE IF NOT EXISTS oui_vendors
(
    prefix  UInt64 COMMENT 'of 24 bits: the prefix. Of 28 or 36 bits: the prefix, plus the bits times 2^40',
    bits    UInt8,
    vendor  String,
    updated DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY prefix;

-- dictGet('oui', 'vendor', bitShiftRight(src_mac, 24))
CREATE DICTIONARY IF NOT EXISTS oui
(
    prefix UInt64,
    vendor String DEFAULT ''
)
PRIMARY KEY prefix
SOURCE(CLICKHOUSE(TABLE 'oui_vendors'))
LAYOUT(HASHED)
LIFETIME(MIN 300 MAX 600);

CREATE TABLE IF NOT EXISTS indicators
(
    kind       LowCardinality(String) COMMENT 'address, network, domain, url_host, ja3, ja4, hassh, cert_sha256',
    value      String,
    list       LowCardinality(String),
    confidence UInt8 COMMENT '1 to 100, 0 not said',
    expires    DateTime('UTC') COMMENT '1970: never',
    updated    DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY (kind, value, list);

-- Names and cards of hosts, as the wire tells them. Least and greatest do not
-- change when the same flows are looked at again.
CREATE TABLE IF NOT EXISTS assets_seen
(
    site   LowCardinality(String),
    ip     IPv6,
    hour   DateTime('UTC'),
    source LowCardinality(String) COMMENT 'dhcp, mdns, mdns_service, llmnr, netbios, kerberos, ntlm, tls, arp',
    name   String COMMENT 'empty: the card only',
    mac    UInt64 COMMENT '0 unknown',
    first  SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last   SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    stored SimpleAggregateFunction(max, DateTime('UTC')) COMMENT 'when it was received, which the time to live runs from'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (site, ip, hour, source, name, mac)
TTL stored + INTERVAL 400 DAY;

-- Who was logged in from which address.
CREATE TABLE IF NOT EXISTS users_seen
(
    site   LowCardinality(String),
    ip     IPv6 COMMENT ':: where only the card is known',
    hour   DateTime('UTC'),
    user   String,
    domain String,
    source LowCardinality(String) COMMENT 'kerberos, ntlm, radius',
    mac    UInt64 COMMENT '0 unknown',
    first  SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last   SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    stored SimpleAggregateFunction(max, DateTime('UTC'))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (site, ip, hour, user, domain, source, mac)
TTL stored + INTERVAL 400 DAY;

-- A name that an address had, from when to when. Another name told the same way,
-- or a day of silence, ends it.
CREATE VIEW IF NOT EXISTS assets AS
SELECT site, ip, any(name) AS name, source, any(mac) AS mac, min(first) AS first, max(last) AS last
FROM
(
    SELECT *, sum(fresh) OVER (PARTITION BY site, ip, source ORDER BY first, name, mac ROWS UNBOUNDED PRECEDING) AS island
    FROM
    (
        SELECT *, toUInt32(lower(name) != lower(lagInFrame(name, 1, '?') OVER w) OR mac != lagInFrame(mac, 1, 0) OVER w
            OR first > lagInFrame(last, 1, first) OVER w + INTERVAL 1 DAY) AS fresh
        FROM (SELECT site, ip, source, name, mac, hour, min(first) AS first, max(last) AS last FROM assets_seen GROUP BY site, ip, source, name, mac, hour)
        WINDOW w AS (PARTITION BY site, ip, source ORDER BY first, name, mac ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    )
)
GROUP BY site, ip, source, island;

-- The best and newest that is known of each address.
CREATE VIEW IF NOT EXISTS assets_now AS
SELECT site, ip,
       argMaxIf(n, l - toIntervalDay(transform(source, ['dhcp', 'mdns', 'kerberos', 'netbios', 'ntlm', 'llmnr', 'mdns_service'], [0, 0, 0, 1, 1, 2, 3], 30)), n != '') AS name,
       argMaxIf(m, l, m != 0) AS mac,
       groupUniqArrayIf(16)(n, n != '') AS names, groupUniqArray(16)(source) AS sources, min(f) AS first, max(l) AS last
FROM (SELECT site, ip, source, name AS n, mac AS m, min(first) AS f, max(last) AS l FROM assets_seen GROUP BY site, ip, source, name, mac)
GROUP BY site, ip;

-- SELECT * FROM asset_at(ip = '10.0.0.5', time = '2026-11-01 12:00:00'): what the
-- address was called, the nearest sighting of each way of telling, within a day.
CREATE VIEW IF NOT EXISTS asset_at AS
SELECT site, ip, name, source, mac, first, last,
       toUInt32(greatest(0, dateDiff('second', last, at), dateDiff('second', at, first))) AS away_s
FROM
(
    SELECT site, ip, name, source, mac, min(first) AS first, max(last) AS last, toDateTime64({time:String}, 3, 'UTC') AS at
    FROM assets_seen
    WHERE ip = toIPv6({ip:String}) AND hour BETWEEN toDateTime64({time:String}, 3, 'UTC') - INTERVAL 25 HOUR AND toDateTime64({time:String}, 3, 'UTC') + INTERVAL 25 HOUR
    GROUP BY site, ip, name, source, mac, hour
)
WHERE away_s <= 86400
ORDER BY site, source, away_s, last DESC
LIMIT 1 BY site, source;

-- users_seen, with the address of those of whom the card is known.
CREATE VIEW IF NOT EXISTS users_addressed AS
SELECT site, ip, user, domain, source, mac, min(first) AS first, max(last) AS last
FROM users_seen WHERE ip != toIPv6('::') GROUP BY site, ip, user, domain, source, mac, hour
UNION ALL
SELECT u.site AS site, a.ip AS ip, u.user AS user, u.domain AS domain, u.source AS source, u.mac AS mac,
       greatest(u.first, a.first) AS first, greatest(u.first, a.last) AS last
FROM (SELECT site, user, domain, source, mac, min(first) AS first FROM users_seen WHERE ip = toIPv6('::') AND mac != 0 GROUP BY site, user, domain, source, mac, hour) AS u
INNER JOIN (SELECT site, ip, mac, min(first) AS first, max(last) AS last FROM assets_seen WHERE mac != 0 GROUP BY site, ip, mac, hour) AS a
ON u.site = a.site AND u.mac = a.mac
WHERE a.last >= u.first - INTERVAL 1 HOUR AND a.first <= u.first + INTERVAL 12 HOUR;

-- Which user had which address from when to when. Another user at the address,
-- or twelve hours of silence, ends it.
CREATE VIEW IF NOT EXISTS users AS
SELECT site, ip, any(user) AS user, any(domain) AS domain, groupUniqArray(source) AS sources, min(first) AS first, max(last) AS last
FROM
(
    SELECT *, sum(fresh) OVER (PARTITION BY site, ip ORDER BY first, user, domain, source ROWS UNBOUNDED PRECEDING) AS island
    FROM
    (
        SELECT *, toUInt32(lower(user) != lower(lagInFrame(user, 1, '') OVER w)
            OR first > lagInFrame(last, 1, first) OVER w + INTERVAL 12 HOUR) AS fresh
        FROM users_addressed
        WINDOW w AS (PARTITION BY site, ip ORDER BY first, user, domain, source ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    )
)
GROUP BY site, ip, island;

-- SELECT * FROM user_at(ip = '10.0.0.5', time = '2026-11-01 12:00:00'): the last
-- who was seen at the address then, at most twelve hours before.
CREATE VIEW IF NOT EXISTS user_at AS
SELECT site, ip, user, domain, source, first, last,
       toUInt32(greatest(0, dateDiff('second', last, toDateTime64({time:String}, 3, 'UTC')))) AS ago_s
FROM users_addressed
WHERE ip = toIPv6({ip:String}) AND first <= toDateTime64({time:String}, 3, 'UTC') AND last >= toDateTime64({time:String}, 3, 'UTC') - INTERVAL 12 HOUR
ORDER BY site, ago_s, first DESC
LIMIT 1 BY site;

-- Pods, containers and virtual machines, and the addresses they had.
CREATE TABLE IF NOT EXISTS workloads
(
    source    LowCardinality(String) COMMENT 'name of the feed',
    ip        IPv6,
    name      String,
    kind      LowCardinality(String) COMMENT 'pod, container, vm, as the feed says',
    namespace LowCardinality(String),
    node      LowCardinality(String),
    from      DateTime64(3, 'UTC') COMMENT 'as the feed says, else when it was first in it',
    to        DateTime64(3, 'UTC') COMMENT 'as the feed says, else when it was last in it',
    open      Bool COMMENT 'it was in the feed when the feed was last read',
    updated   DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(updated)
ORDER BY (ip, source, name, namespace, from);

-- SELECT * FROM workload_at(ip = '10.0.0.5', time = '2026-11-01 12:00:00')
CREATE VIEW IF NOT EXISTS workload_at AS
SELECT source, ip, name, kind, namespace, node, from, to, open
FROM workloads FINAL
WHERE ip = toIPv6({ip:String}) AND from <= toDateTime64({time:String}, 3, 'UTC') AND (open OR to >= toDateTime64({time:String}, 3, 'UTC'))
ORDER BY from DESC;

-- For rows that are enriched again: what the addresses and values of the
-- partition at hand are known as. ClickHouse keeps both in memory.
CREATE TABLE IF NOT EXISTS enrich_addresses
(
    site    String,
    ip      IPv6,
    asn     UInt32,
    country String,
    city    String,
    network String,
    role    String,
    lists   Array(String)
)
ENGINE = Join(ANY, LEFT, site, ip);

CREATE TABLE IF NOT EXISTS enrich_hits
(
    kind  String COMMENT 'name: of a server, dns: asked for, print: fingerprint',
    value String,
    lists Array(String)
)
ENGINE = Join(ANY, LEFT, kind, value)

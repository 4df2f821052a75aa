-- What the generator draws from: the templates in classes, the names with their
-- servers, and the client programs. `raw` holds the metered records.
CREATE OR REPLACE TABLE templates ENGINE = MergeTree ORDER BY tid AS
SELECT toUInt32(rowNumberInAllBlocks()) AS tid, toUnixTimestamp64Micro(end) - toUnixTimestamp64Micro(start) AS duration,
       -- Its share of all flows: that of its class, which is in thousandths, by the number of templates of the class.
       arrayFirst(s -> s.1 = class, {shares}).2 / 1000 / count() OVER (PARTITION BY class) AS share, * FROM
(
    SELECT {class_of} AS class, * FROM raw ORDER BY class, cityHash64(flow_id, interface, start)
)
SETTINGS max_threads = 1;

CREATE OR REPLACE TABLE words ENGINE = Memory AS
SELECT groupArray(w) AS w FROM
(
    SELECT DISTINCT arrayJoin(splitByChar('.', lower(name))) AS w
    FROM (SELECT arrayJoin(arrayConcat([tls_sni, http_host], dns_names)) AS name FROM raw)
    WHERE match(w, '^[a-z][a-z0-9-]{2,13}$')
    ORDER BY w
);

CREATE OR REPLACE TABLE programs ENGINE = Memory AS
SELECT groupArray((ja3, ja4)) AS p FROM (SELECT ja3, ja4 FROM raw WHERE ja4 != '' GROUP BY ja3, ja4 ORDER BY count() DESC, ja4);

CREATE OR REPLACE TABLE pool
(rank UInt64, name String, a4 IPv6, b4 IPv6, a6 IPv6, cert String)
ENGINE = MergeTree ORDER BY rank AS
WITH (SELECT w FROM words) AS words,
     (SELECT groupArray(name) FROM (SELECT arrayJoin(arrayConcat([tls_sni], dns_names)) AS name, count() AS n FROM raw WHERE match(name, '^[a-z0-9.-]+\\.[a-z]{2,8}$') GROUP BY name ORDER BY n DESC, name LIMIT 2000)) AS known,
     ['.com', '.com', '.com', '.com', '.net', '.org', '.io', '.de', '.ru', '.cn', '.co.uk'] AS tops
SELECT rank, name, a4, b4, a6, cert FROM
(
SELECT number + 1 AS rank,
       cityHash64(rank, {seed:UInt64}) AS h, cityHash64(h, 1) AS g, cityHash64(intDiv(h, 7) % 40000, 2) AS d,
       if(rank <= length(known), known[rank],
          concat(multiIf(h % 5 = 0, 'www', h % 5 = 1, 'api', words[h % length(words) + 1]), if(g % 3 = 0, toString(g % 23), ''), '.',
                 words[d % length(words) + 1], if(d % 2 = 0, words[intDiv(d, 16384) % length(words) + 1], ''), tops[d % length(tops) + 1])) AS name,
       -- Networks of servers are Zipf too, and the same name keeps its own.
       toUInt32(pow(6000, (g % 65536) / 65536)) AS net,
       toIPv6(concat('::ffff:', IPv4NumToString(toUInt32(536870912 + cityHash64(net, 3) % 1800000000 - cityHash64(net, 3) % 1800000000 % 65536 + h % 65536)))) AS a4,
       toIPv6(concat('::ffff:', IPv4NumToString(toUInt32(536870912 + cityHash64(net, 3) % 1800000000 - cityHash64(net, 3) % 1800000000 % 65536 + g % 65536)))) AS b4,
       toIPv6(concat('2a0', lower(substring(hex(toUInt8(net % 16)), 2)), ':', lower(hex(toUInt16(cityHash64(net, 4)))), '::', lower(hex(toUInt16(h))), ':', lower(hex(toUInt16(g))))) AS a6,
       lower(hex(SHA256(concat(name, toString(g))))) AS cert
FROM numbers({names:UInt64})
);

CREATE OR REPLACE DICTIONARY pool_of (rank UInt64, name String, a4 IPv6, b4 IPv6, a6 IPv6, cert String)
PRIMARY KEY rank SOURCE(CLICKHOUSE(TABLE 'pool' DB currentDatabase())) LAYOUT(FLAT(MAX_ARRAY_SIZE 2000000)) LIFETIME(0)

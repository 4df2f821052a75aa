-- Inside hosts that exchange data with an outside name, network or country, or by
-- a TLS client, that the site has known for few days and hardly any host uses, in
-- [from, to). One row for the host and its destination, with all that is rare of it.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    population AS
    (
        SELECT site, uniqExactIf(value, inside AND last >= window_start - INTERVAL 30 DAY) AS inside_hosts, min(first) AS since
        FROM (SELECT site, value, first, last, toIPv6OrDefault(value) AS src_ip, /*src_inside*/ AS inside FROM first_seen WHERE kind = 'host' AND first < window_end)
        GROUP BY site
    ),
    talk AS
    (
        SELECT site, src_ip, dst_ip, max(n) AS name, max(j) AS ja4, max(c) AS country, max(a) AS asn, max(b) AS bytes, max(s) AS sent, min(f) AS first, max(l) AS last, max(r) AS role,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS ids
        FROM
        (
            SELECT site, probe, src_ip, dst_ip, max(lower(tls_sni)) AS n, max(toString(flows.ja4)) AS j, max(toString(dst_country)) AS c, max(dst_asn) AS a,
                sum(src_payload_bytes + dst_payload_bytes) AS b, sum(src_payload_bytes) AS s, min(start) AS f, max(end) AS l, max(toString(src_role)) AS r, groupArraySorted(5)(/*flow_id*/) AS i
            FROM flows
            WHERE start >= window_start AND start < window_end AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/ AND dst_payload_bytes > 0 AND NOT initiator_guessed
              AND app NOT IN ('dns', 'ntp', 'bittorrent', 'ocsp')
            GROUP BY site, probe, src_ip, dst_ip
        )
        GROUP BY site, src_ip, dst_ip
        HAVING bytes >= {min_bytes:UInt64} AND role NOT IN ('proxy', 'nat', 'gateway', 'resolver', 'guest')
    ),
    -- names, clients and addresses that they have, read once
    (SELECT (groupUniqArray(name), groupUniqArray(ja4), groupUniqArray(dst_ip)) FROM talk) AS wanted,
    names_known AS (SELECT site, value, min(first) AS since FROM first_seen WHERE kind = 'sni' AND value IN (SELECT arrayJoin(wanted.1)) GROUP BY site, value),
    prints_known AS (SELECT site, value, min(first) AS since FROM first_seen WHERE kind = 'ja4' AND value IN (SELECT arrayJoin(wanted.2)) GROUP BY site, value),
    -- names and clients of the registered domain are left to the addresses they have
    callers AS
    (
        SELECT site, dst_ip, uniqExact(src_ip) AS hosts, min(hour) AS since
        FROM flows_1h
        WHERE hour >= window_start - INTERVAL 30 DAY AND hour < window_end AND dst_ip IN (SELECT arrayJoin(wanted.3)) AND /*src_inside*/
        GROUP BY site, dst_ip
    ),
    name_callers AS
    (
        SELECT site, name, uniqCombinedMerge(12)(clients) AS hosts FROM names_1h
        WHERE hour >= window_start - INTERVAL 30 DAY AND hour < window_end AND source = 'sni' AND name IN (SELECT arrayJoin(wanted.1))
        GROUP BY site, name
    ),
    -- how many of this window's hosts go to the same network and country, with the same client
    shared AS
    (
        SELECT *, uniqExact(src_ip) OVER (PARTITION BY site, asn) AS asn_hosts, uniqExact(src_ip) OVER (PARTITION BY site, country) AS country_hosts,
            uniqExact(src_ip) OVER (PARTITION BY site, ja4) AS ja4_hosts
        FROM talk
    ),
    places AS
    (
        SELECT site, src_ip, groupUniqArray(dst_asn) AS asns, groupUniqArray(toString(dst_country)) AS countries
        FROM flows
        WHERE start >= window_start - INTERVAL 1 DAY AND start < window_start AND dst_asn > 0 AND NOT /*dst_inside*/
        GROUP BY site, src_ip
    ),
    common AS
    (
        SELECT site, groupUniqArrayArray(asns) AS asns, groupUniqArrayArray(countries) AS countries FROM places GROUP BY site
    )
SELECT t.site AS site, replaceRegexpOne(toString(t.src_ip), '^::ffff:', '') AS actor, if(t.name != '', t.name, replaceRegexpOne(toString(t.dst_ip), '^::ffff:', '')) AS victim, '' AS value,
    greatest(c.hosts, n.hosts) AS hosts, t.bytes AS bytes, toBool(p.since > window_start - INTERVAL {grace_days:UInt32} DAY OR p.inside_hosts < {min_hosts:UInt32}) AS learning,
    toBool(t.name != '' AND nk.since >= window_start - INTERVAL {new_days:UInt32} DAY) AS new_name,
    toBool(t.name = '' AND c.since >= window_start - INTERVAL {new_days:UInt32} DAY) AS new_address,
    toBool(t.ja4 != '' AND pk.since >= window_start - INTERVAL {new_days:UInt32} DAY AND t.ja4_hosts <= greatest(1, {max_share:Float64} * p.inside_hosts)) AS new_client,
    toBool(t.asn > 0 AND notEmpty(k.asns) AND NOT has(k.asns, t.asn) AND t.asn_hosts <= greatest(1, {max_share:Float64} * p.inside_hosts)) AS new_asn,
    toBool(t.country != '' AND notEmpty(k.countries) AND NOT has(k.countries, t.country) AND t.country_hosts <= greatest(1, {max_share:Float64} * p.inside_hosts)) AS new_country,
    (new_name OR new_address) + new_client + new_asn + new_country AS kinds,
    arrayFilter(x -> x != '', [concat(toString(hosts), ' of ', toString(p.inside_hosts), ' inside hosts call it'), if(new_name, 'the name is new', ''), if(new_address, 'the address is new', ''),
        if(new_client, concat('the TLS client ', t.ja4, ' is new and rare'), ''), if(new_asn, concat('nobody went to AS', toString(t.asn), ' the day before'), ''),
        if(new_country, concat('nobody went to ', t.country, ' the day before'), '')]) AS details,
    toFloat64(t.bytes) AS amount, t.first AS first, t.last AS last, t.ids AS flow_ids,
    least(1, kinds / 4 + 0.1 * greatest(0, log10(t.bytes / {min_bytes:UInt64}))) AS strength, 1 / greatest(1, hosts) AS rarity
FROM shared AS t
INNER JOIN population AS p ON p.site = t.site
INNER JOIN callers AS c ON c.site = t.site AND c.dst_ip = t.dst_ip
LEFT JOIN name_callers AS n ON n.site = t.site AND n.name = t.name
LEFT JOIN names_known AS nk ON nk.site = t.site AND nk.value = t.name
LEFT JOIN prints_known AS pk ON pk.site = t.site AND pk.value = t.ja4
LEFT JOIN common AS k ON k.site = t.site
WHERE p.since <= window_start - INTERVAL {grace_days:UInt32} DAY AND hosts <= greatest(1, {max_share:Float64} * p.inside_hosts)
  -- a new name alone is everyday: something else about it must be rare too
  AND (new_name OR new_address) AND kinds >= 2
  AND ({one:UInt8} = 0 OR actor = {actor:String} AND victim = {victim:String} AND t.site = {site:String})
ORDER BY kinds DESC, amount DESC, actor, victim, site
LIMIT 1 BY site, actor, victim
LIMIT {limit:UInt32}

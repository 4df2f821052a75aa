-- Hosts whose flows are on threat lists, in [from, to): one row for an inside host
-- and what it met there. Of outside hosts that only knock, nothing is said.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    hits AS
    (
        SELECT site, probe, src_ip, dst_ip, lower(if(tls_sni != '', tls_sni, http_host)) AS name, dns_names, app, toBool(/*src_inside*/) AS outward, arrayMap(x -> toString(x), threats) AS lists,
            src_payload_bytes, dst_payload_bytes, start, end, segment, toBool(/*open*/) AS answered, toBool(/*failed*/) AS failed, /*flow_id*/ AS id, toString(src_role) AS role,
            ja3, ja4, hassh
        FROM flows
        WHERE start >= window_start AND start < window_end AND notEmpty(threats) AND /*unicast*/ AND (/*src_inside*/ OR /*dst_inside*/)
    ),
    known AS
    (
        SELECT value, list, max(confidence) AS confidence, max(updated) AS changed, max(expires) AS until
        FROM indicators FINAL
        WHERE list IN (SELECT arrayJoin(lists) FROM hits)
          AND value IN (SELECT arrayJoin(arrayConcat([replaceRegexpOne(toString(src_ip), '^::ffff:', ''), replaceRegexpOne(toString(dst_ip), '^::ffff:', ''), name, toString(ja3), toString(ja4), toString(hassh)],
              arrayMap(n -> lower(n), dns_names))) FROM hits)
        GROUP BY value, list
    ),
    rows AS
    (
        SELECT *, if(outward, src_ip, dst_ip) AS host,
            multiIf(app = 'dns' AND notEmpty(dns_names), lower(dns_names[1]), name != '' AND outward, name, replaceRegexpOne(toString(if(outward, dst_ip, src_ip)), '^::ffff:', '')) AS met
        FROM hits
    )
SELECT m.site AS site, replaceRegexpOne(toString(host), '^::ffff:', '') AS actor, met AS victim, if(outgoing, 'out', 'in') AS value,
    connections, answered, asked, sent, m.bytes AS bytes, lists, k.confidence AS sure, k.age_days AS age_days,
    arrayFilter(x -> x != '', [concat('on ', arrayStringConcat(lists, ', ')), concat(toString(connections), ' connections, ', toString(answered), ' answered'),
        if(asked > 0 AND asked = connections, 'only its name was asked for', ''), if(sure > 0, concat('the list is sure to ', toString(sure), ' of 100'), ''),
        if(age_days > 30, concat('the list is of ', toString(age_days), ' days before'), '')]) AS details,
    toFloat64(greatest(1, m.bytes)) AS amount, answered AS hosts, toBool(asked > 0 AND asked = connections) AS learning, first, last, flow_ids,
    least(1, 0.3 + 0.1 * log10(1 + m.bytes) * (answered > 0)) AS strength, least(1, 0.5 + 0.25 * length(lists)) AS rarity
FROM
(
    SELECT site, host, met, max(o) AS outgoing, max(n) AS connections, max(a) AS answered, max(q) AS asked, max(s) AS sent, max(b) AS bytes, min(f) AS first, max(l) AS last,
        arraySort(arrayDistinct(arrayFlatten(groupArray(w)))) AS lists, arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids
    FROM
    (
        SELECT site, probe, host, met, max(outward) AS o, countIf(segment = 0) AS n, countIf(answered) AS a, countIf(app = 'dns') AS q, sum(if(outward, src_payload_bytes, dst_payload_bytes)) AS s,
            sum(src_payload_bytes + dst_payload_bytes) AS b, groupUniqArrayArray(lists) AS w, min(start) AS f, max(end) AS l, groupArraySorted(5)(id) AS i
        FROM rows
        WHERE role != 'scanner'
        GROUP BY site, probe, host, met
    )
    GROUP BY site, host, met
) AS m
LEFT JOIN (SELECT value AS indicator, max(known.confidence) AS confidence, toUInt32(greatest(0, dateDiff('day', max(changed), window_start))) AS age_days FROM known GROUP BY indicator) AS k ON k.indicator = m.met
WHERE (outgoing OR answered > 0)
  AND ({one:UInt8} = 0 OR actor = {actor:String} AND victim = {victim:String} AND m.site = {site:String})
ORDER BY amount DESC, actor, victim, site
LIMIT {limit:UInt32}

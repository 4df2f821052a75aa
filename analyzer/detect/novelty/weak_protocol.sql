-- Inside servers that still speak SMB 1, or TLS before 1.2, and outside ones of
-- SMB 1, in [from, to): one row for a server and protocol.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end
SELECT site, '' AS actor, replaceRegexpOne(toString(dst_ip), '^::ffff:', '') AS victim, what AS value,
    arrayFilter(x -> x != '', [concat(toString(connections), ' connections of ', toString(hosts), ' hosts'), if(outside, 'one end is outside', '')]) AS details,
    toFloat64(hosts) AS amount, max(c) AS hosts, max(n) AS connections, max(b) AS bytes, max(o) AS outside, outside AS learning, min(f) AS first, max(l) AS last,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids,
    if(what = 'SMB 1', 0.5, 0.3) + if(outside, 0.3, 0.) AS strength, 1. / (1 + log2(hosts)) AS rarity
FROM
(
    SELECT site, probe, dst_ip, multiIf(bitTest(risks, {smb:UInt8}) OR app = 'smb' AND app_version = '1', 'SMB 1', tls_version = 768, 'SSL 3', tls_version = 769, 'TLS 1.0', 'TLS 1.1') AS what,
        uniqExact(src_ip) AS c, countIf(segment = 0) AS n, sum(src_bytes + dst_bytes) AS b, toBool(max(/*src_inside*/ != /*dst_inside*/)) AS o, min(start) AS f, max(end) AS l,
        groupArraySorted(5)(/*flow_id*/) AS i
    FROM flows
    WHERE start >= window_start AND start < window_end AND dst_payload_bytes > 0
      AND (app = 'smb' AND (bitTest(risks, {smb:UInt8}) OR app_version = '1') AND (/*src_inside*/ OR /*dst_inside*/) OR tls_version IN (768, 769, 770) AND /*dst_inside*/)
      AND src_role NOT IN ('scanner', 'lab') AND dst_role != 'lab'
    GROUP BY site, probe, dst_ip, what
)
GROUP BY site, dst_ip, what
HAVING connections > 0 AND ({one:UInt8} = 0 OR victim = {victim:String} AND value = {value:String} AND site = {site:String})
ORDER BY hosts DESC, victim, value, site
LIMIT {limit:UInt32}

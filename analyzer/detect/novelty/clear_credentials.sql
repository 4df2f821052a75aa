-- Services to which passwords went in the clear, in [from, to): one row for a
-- server and its protocol.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end
SELECT site, '' AS actor, replaceRegexpOne(toString(dst_ip), '^::ffff:', '') AS victim, concat(service, ' ', toString(dst_port)) AS value,
    arrayFilter(x -> x != '', [concat(toString(logins), ' logins of ', toString(hosts), ' hosts by ', service), if(names != '', concat('users ', names), ''), if(outside, 'it crosses the border of the site', '')]) AS details,
    toFloat64(hosts) AS amount, max(c) AS hosts, max(n) AS logins, max(b) AS bytes, max(o) AS outside, max(u) AS names, outside AS learning, min(f) AS first, max(l) AS last,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids,
    if(outside, 0.8, 0.4) AS strength, 1. / (1 + log2(hosts)) AS rarity
FROM
(
    SELECT site, probe, dst_ip, dst_port, toString(app) AS service, uniqExact(src_ip) AS c, countIf(segment = 0) AS n, sum(src_bytes + dst_bytes) AS b, toBool(max(/*src_inside*/ != /*dst_inside*/)) AS o,
        arrayStringConcat(arraySlice(arraySort(groupUniqArrayIf(toString(user), user != '')), 1, 4), ', ') AS u, min(start) AS f, max(end) AS l, groupArraySorted(5)(/*flow_id*/) AS i
    FROM flows
    WHERE start >= window_start AND start < window_end AND bitTest(risks, {bit:UInt8}) AND dst_payload_bytes > 0 AND (/*src_inside*/ OR /*dst_inside*/) AND lower(user) NOT IN ('anonymous', 'ftp', 'guest')
      AND app != '' AND src_role NOT IN ('scanner', 'lab')
    GROUP BY site, probe, dst_ip, dst_port, service
)
GROUP BY site, dst_ip, dst_port, service
HAVING logins > 0 AND ({one:UInt8} = 0 OR victim = {victim:String} AND value = {value:String} AND site = {site:String})
ORDER BY hosts DESC, victim, value, site
LIMIT {limit:UInt32}

-- Inside hosts that use ways around the view of the site, in [from, to): Tor, open
-- proxies, private tunnels to the outside. Payload came back.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end
SELECT site, replaceRegexpOne(toString(src_ip), '^::ffff:', '') AS actor, '' AS victim, kind AS value,
    [concat(toString(max(n)), ' connections with ', toString(hosts), ' outside hosts: ', max(w))] AS details,
    toFloat64(max(n)) AS amount, max(d) AS hosts, max(b) AS bytes, false AS learning, min(f) AS first, max(l) AS last,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids,
    if(kind = 'tor', 0.8, 0.4) AS strength, least(1, log10(1 + bytes) / 8) AS rarity
FROM
(
    SELECT site, probe, src_ip, multiIf(app = 'tor' OR match(lower(tls_sni), '(^|\\.)(torproject\\.org|tor2web\\.[a-z]+|onion\\.[a-z]+)$') OR endsWith(lower(tls_sni), '.onion')
            OR arrayExists(n -> endsWith(lower(n), '.onion'), dns_names), 'tor',
        app = 'socks' OR http_method = 'CONNECT', 'proxy', 'vpn') AS kind,
        countIf(segment = 0) AS n, uniqExact(dst_ip) AS d, sum(src_bytes + dst_bytes) AS b, min(start) AS f, max(end) AS l,
        arrayStringConcat(arraySlice(arraySort(groupUniqArray(/*dst_text*/)), 1, 4), ', ') AS w, groupArraySorted(5)(/*flow_id*/) AS i
    FROM flows
    WHERE start >= window_start AND start < window_end AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/ AND dst_payload_bytes > 0 AND src_role NOT IN ('proxy', 'gateway', 'vpn', 'guest', 'resolver')
      AND dst_role NOT IN ('vpn', 'proxy') AND (app IN ('tor', 'socks') OR http_method = 'CONNECT' OR app IN ('openvpn', 'wireguard', 'l2tp') AND NOT /*dst_inside*/
        OR match(lower(tls_sni), '(^|\\.)(torproject\\.org|tor2web\\.[a-z]+|onion\\.[a-z]+)$') OR arrayExists(n -> endsWith(lower(n), '.onion'), dns_names))
    GROUP BY site, probe, src_ip, kind
)
GROUP BY site, src_ip, kind
HAVING amount > 0 AND ({one:UInt8} = 0 OR actor = {actor:String} AND value = {value:String} AND site = {site:String})
ORDER BY amount DESC, actor, value, site
LIMIT {limit:UInt32}

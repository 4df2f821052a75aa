-- Inside hosts that talk to pools or peers of crypto-currencies, in [from, to): by
-- application, by names, by ports together with how it goes on. Payload came back.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    calls AS
    (
        SELECT site, probe, src_ip, dst_ip, dst_port, start, end, segment, src_payload_bytes AS sent, dst_payload_bytes AS got, /*flow_id*/ AS id,
            toBool(app = 'bitcoin') AS by_app,
            toBool(arrayExists(n -> match(n, {names:String}), arrayConcat(if(app = 'dns', dns_names, []), [lower(tls_sni), lower(http_host)]))) AS by_name,
            -- peers of Monero; pools of Stratum. Web and mail have other ports
            toBool(protocol = 6 AND app IN ('', 'unknown', 'tls', 'bitcoin') AND tls_sni = '' AND dst_port IN {ports:Array(UInt16)}) AS by_port
        FROM flows
        WHERE start >= window_start AND start < window_end AND /*src_inside*/ AND NOT /*dst_inside*/ AND /*unicast*/ AND dst_payload_bytes > 0 AND src_role NOT IN ('resolver', 'proxy', 'scanner')
          AND (app IN ('bitcoin', 'dns', '', 'unknown', 'tls', 'http'))
    )
SELECT site, replaceRegexpOne(toString(src_ip), '^::ffff:', '') AS actor, '' AS victim, '' AS value,
    max(a) AS apps, max(m) AS named, max(p) AS pools, max(n) AS connections,
    arrayFilter(x -> x != '', [concat(toString(connections), ' connections, ', toString(max(d)), ' addresses'), if(apps > 0, 'the protocol is that of a crypto-currency', ''),
        if(named > 0, concat('names of pools, ', toString(named)), ''), if(pools > 0, concat(toString(pools), ' addresses on ports of pools and peers'), '')]) AS details,
    toFloat64(connections) AS amount, max(d) AS hosts, max(b) AS bytes,
    -- ports alone are a guess
    toBool(apps = 0 AND named = 0) AS learning, min(f) AS first, max(l) AS last,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids,
    least(1, if(apps > 0 OR named > 0, 0.7, 0.4) + 0.1 * log2(1 + pools)) AS strength, if(learning, 0.4, 1.) AS rarity
FROM
(
    SELECT site, probe, src_ip, countIf(by_app) AS a, countIf(by_name) AS m, uniqExactIf(dst_ip, by_port) AS p, countIf(segment = 0) AS n, uniqExact(dst_ip) AS d, sum(sent + got) AS b,
        min(start) AS f, max(end) AS l, dateDiff('second', f, l) AS spread, groupArraySorted(5)(id) AS i
    FROM calls
    WHERE by_app OR by_name OR by_port
    GROUP BY site, probe, src_ip
)
GROUP BY site, src_ip
HAVING (apps > 0 OR named > 0 OR pools >= 3 OR pools >= 1 AND max(spread) >= 1800) AND ({one:UInt8} = 0 OR actor = {actor:String} AND site = {site:String})
ORDER BY amount DESC, actor, site
LIMIT {limit:UInt32}

-- Of the registered domains that are given, those below which a client asked names
-- that do not exist in the 10 minutes before to; others are those it found.
SELECT site, src, missing, existing, share, familiar, first, last, samples, flow_ids,
    least(1, 0.5 + 0.5 * log10(missing / {min_domains:UInt32})) AS breadth, 1 - familiar AS strangeness
FROM
(
    SELECT site, src, toUInt64(length(domains)) AS missing, toUInt64({existing:UInt32}) AS existing, missing / (missing + existing) AS share, first, last, arraySlice(domains, 1, 5) AS samples, flow_ids,
        arrayMap(d -> replaceRegexpAll(splitByChar('.', d)[1], '[^a-z0-9]', ''), domains) AS labels,
        arrayFlatten(arrayMap(l -> arrayMap(i -> substring(l, i, 2), range(1, length(l))), labels)) AS pairs,
        if(empty(pairs), 1, arrayCount(p -> has({common:Array(String)}, p), pairs) / length(pairs)) AS familiar
    FROM
    (
        SELECT site, /*src_text*/ AS src, arraySort(groupUniqArray(domain)) AS domains, min(start) AS first, max(end) AS last, arraySlice(arraySort(groupUniqArray(id)), 1, 5) AS flow_ids
        FROM
        (
            SELECT site, src_ip, start, end, /*flow_id*/ AS id,
                arrayJoin(arrayZip(arrayMap(n -> lower(trim(TRAILING '.' FROM n)), dns_names), arrayResize(dns_rcodes, length(dns_names), 65535))) AS q,
                arrayJoin(arrayFilter(d -> q.1 = d OR endsWith(q.1, concat('.', d)), {domains:Array(String)})) AS domain
            FROM flows
            WHERE start >= {from:DateTime('UTC')} - INTERVAL 9 MINUTE AND start < {to:DateTime('UTC')} AND has(dns_rcodes, 3)
              AND src_ip = toIPv6OrDefault({src:String}) AND site = {site:String}
        )
        WHERE q.2 = 3
        GROUP BY site, src_ip
    )
)

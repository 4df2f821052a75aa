-- What one client asked below one registered domain in the 10 minutes before to.
-- clients, sites and domains are parallel lists; an empty domain stands for names
-- that end in no domain at all, as of tunnels that talk to their server directly.
-- A name that several probes or several queries had counts once.
WITH
    arrayZip({sites:Array(String)}, {clients:Array(String)}, {domains:Array(String)}) AS wanted,
    asked AS
    (
        SELECT site, src, qname, qtype, answer, server, at, id, arrayJoin(arrayFilter(w -> w.1 = site AND w.2 = src AND
            if(w.3 = '', match(qname, '(^|\\.)([^.]*[0-9][^.]*|[^.]{25,})$') AND NOT match(qname, '(^|\\.)xn--[^.]*$'), endsWith(qname, concat('.', w.3))), wanted)).3 AS domain
        FROM
        (
            SELECT site, /*src_text*/ AS src, /*dst_text*/ AS server, start AS at, /*flow_id*/ AS id,
                arrayJoin(arrayZip(arrayMap(n -> lower(replaceRegexpAll(trim(TRAILING '.' FROM n), '\\\\[0-9]{3}', '~')), dns_names), arrayResize(dns_qtypes, length(dns_names), 0))) AS q,
                q.1 AS qname, q.2 AS qtype,
                dst_payload_bytes / greatest(1, length(dns_names)) AS answer
            FROM flows
            WHERE start >= {from:DateTime('UTC')} - INTERVAL 9 MINUTE AND start < {to:DateTime('UTC')} AND notEmpty(dns_names) AND /*unicast*/
              AND src_ip IN (SELECT toIPv6(c) FROM (SELECT arrayJoin({clients:Array(String)}) AS c))
        )
    )
SELECT site, src, domain, servers, names, information, information / names AS mean_length, entropy, odd_share, service_share, reply, queries, first, last, samples, flow_ids,
    least(1, information / {min_information:Float64} / 5) AS volume,
    least(1, information / names / 40) AS length,
    least(1, entropy / 5) AS randomness,
    odd_share AS odd,
    least(1, reply / 200) AS answers
FROM
(
    SELECT *, if(empty(counts), 0, -arraySum(arrayMap(c -> c / letters * log2(c / letters), counts))) AS entropy
    FROM
    (
        SELECT *, arrayMap(c -> countSubstrings(joined, c), arrayDistinct(splitByString('', joined))) AS counts, toFloat64(length(joined)) AS letters, arraySlice(subs, 1, 3) AS samples
        FROM
        (
            SELECT *, toFloat64(arraySum(arrayMap(x -> length(x), subs))) AS information, toUInt64(length(subs)) AS names, arrayStringConcat(subs) AS joined,
                arrayCount(x -> match(x, '(^|\\.)_'), subs) / length(subs) AS service_share
            FROM
            (
                SELECT site, src, domain, arraySlice(arraySort(groupUniqArray(server)), 1, 8) AS servers, arraySort(groupUniqArray(sub)) AS subs,
                    countIf(qtype NOT IN (0, 1, 2, 6, 12, 28, 33, 43, 46, 48, 64, 65, 257)) / count() AS odd_share, avg(answer) AS reply, count() AS queries,
                    min(at) AS first, max(at) AS last, arraySlice(arraySort(groupUniqArray(id)), 1, 5) AS flow_ids
                FROM (SELECT *, if(domain = '', qname, substring(qname, 1, greatest(0, toInt64(length(qname)) - toInt64(length(domain)) - 1))) AS sub FROM asked)
                GROUP BY site, src, domain
            )
        )
    )
)
WHERE information > 0
ORDER BY site, src, domain

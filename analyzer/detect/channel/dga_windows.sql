-- Minutes before which, within 10, a client asked many names that do not exist.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT arrayJoin(range(greatest(intDiv(toUnixTimestamp(start), 60), intDiv(toUnixTimestamp({from:DateTime('UTC')}), 60)), least(intDiv(toUnixTimestamp(start), 60) + 10, intDiv(toUnixTimestamp({to:DateTime('UTC')}), 60)))) * 60 AS w, site, src_ip, arrayJoin(arrayZip(dns_names, arrayResize(dns_rcodes, length(dns_names), 65535))) AS q
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 9 MINUTE AND start < {to:DateTime('UTC')} AND has(dns_rcodes, 3) AND {step:Int64} > 0 AND {overlap:UInt32} > 0
)
WHERE q.2 = 3
GROUP BY w, site, src_ip
HAVING uniqExact(q.1) >= {min_domains:UInt32}
ORDER BY 1

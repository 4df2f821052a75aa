-- Minutes before which, within 10, a client asked many long names below one pair of labels.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT arrayJoin(range(greatest(intDiv(toUnixTimestamp(start), 60), intDiv(toUnixTimestamp({from:DateTime('UTC')}), 60)), least(intDiv(toUnixTimestamp(start), 60) + 10, intDiv(toUnixTimestamp({to:DateTime('UTC')}), 60)))) * 60 AS w, site, src_ip, lower(trim(TRAILING '.' FROM arrayJoin(dns_names))) AS qname, splitByChar('.', qname) AS labels
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 9 MINUTE AND start < {to:DateTime('UTC')} AND notEmpty(dns_names) AND /*unicast*/ AND NOT /*exempt*/
)
WHERE NOT endsWith(qname, '.arpa') AND {step:Int64} > 0 AND {overlap:UInt32} > 0
GROUP BY w, site, src_ip, if(match(labels[-1], '[0-9]|^.{25}') AND NOT startsWith(labels[-1], 'xn--'), '', arrayStringConcat(arraySlice(labels, -2), '.'))
HAVING uniqExact(qname) >= {few:UInt32} AND uniqExact(qname) * avg(length(qname)) >= {few:UInt32} * {long:UInt32}
ORDER BY 1

-- Names that a client asked below one pair of labels in the 10 minutes before to, if
-- they are many and long, and some were asked in the window. The pair stands for the
-- registered domain, which the list of public suffixes tells; it is never narrower.
SELECT site, /*src_text*/ AS src, groupUniqArray(20000)(qname) AS names, arraySort(groupUniqArray(64)(/*dst_text*/)) AS servers
FROM
(
    SELECT site, src_ip, dst_ip, start, lower(trim(TRAILING '.' FROM arrayJoin(dns_names))) AS qname, splitByChar('.', qname) AS labels
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 9 MINUTE AND start < {to:DateTime('UTC')} AND notEmpty(dns_names) AND /*unicast*/ AND NOT /*exempt*/
)
WHERE NOT endsWith(qname, '.arpa') AND NOT match(qname, '^([0-9]{1,3}\\.){4}[a-z]|^([0-9a-f]\\.){16}')
GROUP BY site, src_ip, if(match(labels[-1], '[0-9]|^.{25}') AND NOT startsWith(labels[-1], 'xn--'), '', arrayStringConcat(arraySlice(labels, -2), '.')) AS pair
HAVING max(start) >= {from:DateTime('UTC')} AND uniqExact(qname) >= {few:UInt32} AND uniqExact(qname) * avg(length(qname)) >= {few:UInt32} * {long:UInt32}

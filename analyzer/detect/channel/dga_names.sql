-- Names that a client asked in the 10 minutes before to and that do not exist, if they
-- are many and some were asked in the window.
SELECT site, /*src_text*/ AS src, groupUniqArrayIf(5000)(qname, rcode = 3) AS missing, groupUniqArrayIf(5000)(qname, rcode = 0) AS existing
FROM
(
    SELECT site, src_ip, start, arrayJoin(arrayZip(arrayMap(n -> lower(trim(TRAILING '.' FROM n)), dns_names), arrayResize(dns_rcodes, length(dns_names), 65535))) AS q, q.1 AS qname, q.2 AS rcode
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 9 MINUTE AND start < {to:DateTime('UTC')} AND notEmpty(dns_names) AND /*unicast*/ AND NOT /*exempt*/ AND src_role != 'resolver'
      AND src_ip NOT IN (SELECT dst_ip FROM flows WHERE start >= {from:DateTime('UTC')} - INTERVAL 9 MINUTE AND start < {to:DateTime('UTC')} AND notEmpty(dns_names))
)
WHERE NOT endsWith(qname, '.arpa')
GROUP BY site, src_ip
HAVING maxIf(start, rcode = 3) >= {from:DateTime('UTC')} AND uniqExactIf(qname, rcode = 3) >= {min_domains:UInt32}
ORDER BY site, src

INSERT INTO assets_seen (site, ip, hour, source, name, mac, first, last, stored)
WITH
    replaceOne(toString(src_ip), '::ffff:', '') AS me,
    arrayLast(x -> startsWith(x, 'ACK '), app_responses) AS acknowledged,
    arrayLast(x -> startsWith(x, 'REQUEST ') OR startsWith(x, 'INFORM '), app_requests) AS asked, -- earlier ones were refused
    toIPv6OrDefault(splitByChar(' ', if(acknowledged != '', acknowledged, asked))[-1]) AS leased,
    toString(app_host) AS host,
    arrayExists(x -> startsWith(x, 'AS-REP') OR startsWith(x, 'TGS-REP'), app_responses) AS ticket,
    -- of the names in the flow those that are announced as somebody's: name, type and code belong together
    arrayFilter(i -> dns_rcodes[i] = 0 AND dns_qtypes[i] IN (1, 28) AND endsWith(lower(dns_names[i]), '.local'), arrayEnumerate(dns_names)) AS hosts,
    arrayFilter(i -> dns_rcodes[i] = 0 AND dns_qtypes[i] = 33, arrayEnumerate(dns_names)) AS services,
    arrayDistinct(arrayFilter(n -> n != '', arrayMap(i -> if(dns_rcodes[i] = 0, if(app = 'nbns', extract(dns_names[i], '^(.*)<20>$'), dns_names[i]), ''),
        arrayEnumerate(dns_names)))) AS resolved,
    (dst_network != ''
        OR dst_ip BETWEEN toIPv6('::ffff:10.0.0.0') AND toIPv6('::ffff:10.255.255.255')
        OR dst_ip BETWEEN toIPv6('::ffff:172.16.0.0') AND toIPv6('::ffff:172.31.255.255')
        OR dst_ip BETWEEN toIPv6('::ffff:192.168.0.0') AND toIPv6('::ffff:192.168.255.255')
        OR dst_ip BETWEEN toIPv6('fc00::') AND toIPv6('fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')) AS dst_local
SELECT site, seen.1 AS ip, toStartOfHour(start) AS hour, seen.2 AS source, seen.3 AS name, seen.4 AS mac,
       min(toDateTime64(start, 3, 'UTC')) AS first, max(toDateTime64(end, 3, 'UTC')) AS last, max(toDateTime(received)) AS stored
FROM
(
    SELECT site, start, end, received, arrayJoin(arrayConcat(
        if(app = 'dhcp' AND app_errors = 0 AND leased != toIPv6('::') AND NOT (src_port = 67 AND host = ''),
           [(leased, 'dhcp', host, if(src_port = 68, src_mac, 0))], []),
        if(app = 'dhcpv6' AND host != '', [(src_ip, 'dhcp', host, src_mac)], []),
        if(app = 'mdns' AND has(dns_answers, me), arrayMap(i -> (src_ip, 'mdns', dns_names[i], toUInt64(0)), hosts), []),
        if(app = 'mdns' AND notEmpty(services), arrayMap(n -> (src_ip, 'mdns_service', n, toUInt64(0)), arrayFilter(n -> endsWith(lower(n), '.local'), dns_answers)), []),
        if(app IN ('nbns', 'llmnr') AND length(resolved) = 1,
           arrayMap(a -> (toIPv6OrDefault(a), if(app = 'nbns', 'netbios', 'llmnr'), resolved[1], toUInt64(0)), dns_answers), []),
        if(app = 'nbdgm' OR app = 'smb' AND user = '', [(src_ip, 'netbios', host, toUInt64(0))], []),
        if(app IN ('smb', 'ldap', 'mssql') AND user != '', [(src_ip, 'ntlm', trimLeft(replaceAll(host, '\\', '')), toUInt64(0))], []),
        if(app = 'kerberos' AND ticket, [(src_ip, 'kerberos', host, toUInt64(0)), (src_ip, 'kerberos', if(endsWith(user, '$'), trimRight(toString(user), '$'), ''), toUInt64(0))], []),
        if(app IN ('tls', 'quic', 'dtls') AND dst_local AND dst_packets > 0, [(dst_ip, 'tls', tls_sni, toUInt64(0))], []),
        if(ethertype = 2054 AND src_mac != 0, [(src_ip, 'arp', '', src_mac)], []))) AS seen
    FROM flows
    WHERE toYYYYMMDD(start) IN ({days:Array(UInt32)}) AND received BETWEEN {from:DateTime64(3, 'UTC')} AND {to:DateTime64(3, 'UTC')}
      AND (app IN ('dhcp', 'dhcpv6', 'mdns', 'nbns', 'llmnr', 'nbdgm', 'kerberos') OR ethertype = 2054
        OR app IN ('smb', 'ldap', 'mssql') AND app_host != '' OR app IN ('tls', 'quic', 'dtls') AND tls_sni != '')
)
WHERE seen.1 NOT IN (toIPv6('::'), toIPv6('0.0.0.0'), toIPv6('255.255.255.255'))
  AND NOT (seen.1 BETWEEN toIPv6('ff00::') AND toIPv6('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'))
  AND (seen.3 != '' OR seen.4 != 0) AND length(seen.3) <= 253 AND toIPv6OrNull(seen.3) IS NULL AND seen.3 NOT LIKE '%\_\_MSBROWSE\_\_%'
GROUP BY site, ip, hour, source, name, mac

INSERT INTO users_seen (site, ip, hour, user, domain, source, mac, first, last, stored)
WITH
    -- NTLM: the login that was granted. Only NTLM leaves a domain beside the user of these protocols.
    arrayExists((q, a) -> q = 'SESSION_SETUP' AND a = 'STATUS_SUCCESS', app_requests, arrayResize(app_responses, length(app_requests))) AS smb_granted,
    arrayExists(q -> startsWith(q, 'BIND '), app_requests) AND has(app_responses, 'success') AND domain != '' AS ldap_granted,
    -- RADIUS: the address that the user was given, or whose accounting began; 255.255.255.254 leaves the choice to others (RFC 2865, section 5.8)
    arrayFilter(x -> startsWith(x, 'Access-Accept'), app_responses) AS accepted,
    arrayFilter(x -> startsWith(x, 'Accounting-Request'), app_requests) AS counted,
    arrayDistinct(arrayFilter(a -> a NOT IN (toIPv6('::'), toIPv6('255.255.255.254'), toIPv6('255.255.255.255')),
        arrayMap(x -> toIPv6OrDefault(splitByChar(' ', x)[-1]), arrayConcat(accepted, counted)))) AS framed,
    replaceRegexpAll(app_host, '[-:.]', '') AS station,
    if(match(station, '^[0-9A-Fa-f]{12}$'), reinterpretAsUInt64(reverse(unhex(concat('0000', station)))), toUInt64(0)) AS station_mac
SELECT site, seen.1 AS ip, toStartOfHour(start) AS hour, seen.2 AS user, seen.3 AS domain, seen.4 AS source, seen.5 AS mac,
       min(toDateTime64(start, 3, 'UTC')) AS first, max(toDateTime64(end, 3, 'UTC')) AS last, max(toDateTime(received)) AS stored
FROM
(
    SELECT site, start, end, received, arrayJoin(arrayConcat(
        if(app = 'kerberos' AND arrayExists(x -> startsWith(x, 'AS-REP') OR startsWith(x, 'TGS-REP'), app_responses)
            AND NOT endsWith(flows.user, '$') AND NOT startsWith(flows.user, 'WELLKNOWN/') AND NOT match(flows.user, '/.*[.]'), -- a service on a host
           [(src_ip, toString(flows.user), toString(flows.domain), 'kerberos', toUInt64(0))], []),
        if((app = 'smb' AND smb_granted OR app = 'ldap' AND ldap_granted) AND NOT endsWith(flows.user, '$'),
           [(src_ip, toString(flows.user), toString(flows.domain), 'ntlm', toUInt64(0))], []),
        -- a flow between a server and its client carries many users, and names the first: only what can be nobody else's counts
        if(app = 'radius' AND length(framed) = 1 AND length(accepted) <= 1, [(framed[1], toString(flows.user), toString(flows.domain), 'radius', station_mac)], []),
        if(app = 'radius' AND empty(framed) AND length(accepted) + length(counted) >= 1 AND length(accepted) <= 1 AND station_mac != 0,
           [(toIPv6('::'), toString(flows.user), toString(flows.domain), 'radius', station_mac)], []))) AS seen
    FROM flows
    WHERE toYYYYMMDD(start) IN ({days:Array(UInt32)}) AND received BETWEEN {from:DateTime64(3, 'UTC')} AND {to:DateTime64(3, 'UTC')}
      AND app IN ('kerberos', 'smb', 'ldap', 'radius') AND flows.user != ''
)
GROUP BY site, ip, hour, user, domain, source, mac

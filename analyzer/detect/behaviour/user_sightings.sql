-- Which named users were seen at which addresses in which hours, from sight_first
-- to sight_last, both included. Names are compared without case, domain and
-- realm: Kerberos, NTLM and RADIUS write them differently. Where only the card is
-- known (802.1X) the addresses are those that the card has within twelve hours,
-- as in the view users_addressed.
SELECT site, ip, hour, name, groupUniqArrayIf(mac, mac != 0) AS macs, min(began) AS began, max(ended) AS ended
FROM
(
    SELECT site, ip, hour, lower(splitByChar('@', splitByChar('\\', user)[-1])[1]) AS name, mac, first AS began, last AS ended
    FROM users_seen
    WHERE hour >= sight_first AND hour <= sight_last AND ip != toIPv6('::')
    UNION ALL
    SELECT u.site AS site, a.ip AS ip, greatest(u.hour, a.hour) AS hour, u.name AS name, u.mac AS mac, greatest(u.began, a.began) AS began, greatest(u.began, a.ended) AS ended
    FROM
    (
        SELECT site, hour, lower(splitByChar('@', splitByChar('\\', user)[-1])[1]) AS name, mac, min(first) AS began
        FROM users_seen
        WHERE hour >= sight_first AND hour <= sight_last AND ip = toIPv6('::') AND mac != 0
        GROUP BY site, hour, name, mac
    ) AS u
    INNER JOIN
    (
        SELECT site, ip, mac, hour, min(first) AS began, max(last) AS ended
        FROM assets_seen
        WHERE hour >= sight_first AND hour <= sight_last AND mac != 0
        GROUP BY site, ip, mac, hour
    ) AS a ON u.site = a.site AND u.mac = a.mac
    WHERE a.ended >= u.began - INTERVAL 1 HOUR AND a.began <= u.began + INTERVAL 12 HOUR
)
WHERE NOT endsWith(name, '$') AND NOT startsWith(name, 'host/') AND name NOT IN ('', '-', 'anonymous', 'anonymous logon', 'guest', 'unknown')
  AND NOT arrayExists((a, b) -> ip >= a AND ip <= b, {exempt_first:Array(IPv6)}, {exempt_last:Array(IPv6)})
GROUP BY site, ip, hour, name

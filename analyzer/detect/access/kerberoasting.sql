-- Tickets for services that are enciphered with RC4, by who asked, in [from, to),
-- and how many tickets of the site of the day before were. src and site narrow it
-- to one source; an empty src means all.
WITH usual AS
(
    SELECT site, sum(arrayCount(r -> startsWith(r, 'TGS-REP ') AND NOT match(r, ' krbtgt/'), app_responses)) AS tickets,
        sum(arrayCount(r -> startsWith(r, 'TGS-REP ') AND NOT match(r, ' krbtgt/') AND match(r, ' rc4-hmac'), app_responses)) AS weak
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 DAY AND start < {from:DateTime('UTC')} AND app = 'kerberos'
    GROUP BY site
)
SELECT f.site AS site, /*src_text*/ AS src,
    replaceRegexpOne(toString(min(dst_ip)), '^::ffff:', '') AS kdc,
    uniqExactArray(weak_names) AS services,
    sum(length(weak_names)) AS weak_tickets,
    sum(all_tickets) AS tickets_here,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(weak_names)))), 1, 8) AS service_sample,
    arraySlice(arraySort(groupUniqArrayIf(64)(user, user != '')), 1, 8) AS user_sample,
    any(usual.tickets) AS usual_tickets, any(usual.weak) AS usual_weak,
    min(start) AS first, max(end) AS last,
    groupArraySorted(5)(id) AS flow_ids,
    least(1, services / {many:UInt32}) AS breadth,
    if(usual_tickets >= 20, 1 - usual_weak / usual_tickets, 0) AS rarity
FROM
(
    SELECT site, src_ip, dst_ip, start, end, user, /*flow_id*/ AS id,
        arrayCount(r -> startsWith(r, 'TGS-REP '), app_responses) AS all_tickets,
        arrayMap(r -> extract(r, '^TGS-REP (\\S+)'), arrayFilter(r -> startsWith(r, 'TGS-REP ') AND NOT match(r, ' krbtgt/') AND match(r, ' rc4-hmac'), app_responses)) AS weak_names
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND app = 'kerberos' AND notEmpty(weak_names)
      AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND site = {site:String})
      AND src_role NOT IN ('scanner')
) AS f
LEFT JOIN usual ON f.site = usual.site
WHERE NOT /*exempt*/
GROUP BY f.site, src_ip
HAVING usual_tickets < 20 OR rarity >= 0.5
ORDER BY services DESC, src, site
LIMIT 10000

-- Sources whose logins were refused in words for many users, or that guessed at
-- many hosts, a few attempts each, in [from, to). src and site narrow it to one
-- source; an empty src means all.
SELECT site, /*src_text*/ AS src, /*src_inside*/ AS inside,
    uniqExactArray(arrayMap(x -> (x.1, x.2), refused_users)) AS users,
    uniqExact(dst_ip) AS hosts,
    uniqExactIf(dst_ip, guesses >= 2) AS guessed_hosts,
    sum(attempts) AS all_attempts, max(attempts) AS most_attempts,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(arrayMap(x -> if(x.1 = '', x.2, concat(x.1, '\\', x.2)), refused_users))))), 1, 8) AS user_sample,
    arraySlice(arraySort(groupUniqArray(64)(/*dst_text*/)), 1, 8) AS host_sample,
    arraySort(groupUniqArray(16)(service)) AS service_sample,
    sum(accepted_flows) AS accepted,
    min(first_at) AS first, max(last_at) AS last,
    arraySlice(arraySort(arrayFlatten(groupArray(ids))), 1, 5) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(greatest(users / {min_users:UInt32}, guessed_hosts / {min_hosts:UInt32}, 0.1))) AS breadth,
    1 / greatest(1, all_attempts / greatest(users, guessed_hosts, 1)) AS thinness
FROM
(
    SELECT site, src_ip, dst_ip, service,
        sum(refused) AS refusals, countIf(guess) AS guesses, refusals + guesses AS attempts,
        groupUniqArrayIf(4096)((domain, user), refused > 0 AND user != '') AS refused_users,
        countIf(accepted) AS accepted_flows,
        minIf(start, refused > 0 OR guess) AS first_at, maxIf(end, refused > 0 OR guess) AS last_at, groupArraySortedIf(2)(id, refused > 0 OR guess) AS ids
    FROM
    (
        SELECT site, probe, src_ip, dst_ip, start, end, toString(user) AS user, toString(domain) AS domain, /*login_service*/ AS service, /*login_refused*/ AS refused, /*login_accepted*/ AS accepted,
            refused = 0 AND NOT accepted AND service IN ('ssh', 'telnet', 'rdp', 'vnc') AND src_payload_bytes BETWEEN 20 AND 6000 AND dst_payload_bytes BETWEEN 20 AND 6000
                AND end - start < 120 AND end_reason != 'active' AND transactions < 16 AS guess,
            /*flow_id*/ AS id
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND NOT initiator_guessed AND dst_payload_bytes > 0
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND site = {site:String})
          AND service != '' AND /*unicast*/ AND src_role NOT IN ('scanner', 'monitor', 'backup', 'proxy', 'nat')
    )
    WHERE NOT /*exempt*/ AND (refused > 0 OR guess OR accepted)
    GROUP BY site, probe, src_ip, dst_ip, service
    ORDER BY attempts DESC, probe
    LIMIT 1 BY site, src_ip, dst_ip, service
)
WHERE attempts > 0
GROUP BY site, src_ip
HAVING users >= {min_users:UInt32} AND all_attempts <= 3 * users
    OR inside AND guessed_hosts >= {min_hosts:UInt32} AND most_attempts < {quick:UInt32}
ORDER BY all_attempts DESC, src, site
LIMIT 10000

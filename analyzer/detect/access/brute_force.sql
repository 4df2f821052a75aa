-- Sources that try to log in again and again, in [from, to): by source, victim and
-- service if the source is inside, by victim and service (an empty src) if it is
-- outside, or if there are many of them. An attempt is an answer that refuses a
-- login, or, where nothing can be read, a short answered connection; those of a
-- pair have like sizes. dst narrows it to one, with src, service and site; an
-- empty dst means all. With quick > 0 pairs that made so many attempts within ten
-- minutes are left to those who look at ten minutes.
WITH
logins AS
(
    SELECT site, probe, src_ip, dst_ip, dst_port, start, end, user,
        /*login_service*/ AS service,
        /*login_refused*/ AS refused,
        /*login_accepted*/ AS accepted,
        src_payload_bytes + dst_payload_bytes AS total,
        refused = 0 AND NOT accepted AND service IN ('ssh', 'telnet', 'rdp', 'vnc') AND src_payload_bytes BETWEEN 20 AND 6000 AND dst_payload_bytes BETWEEN 20 AND 6000
            AND end - start < 120 AND end_reason != 'active' AND transactions < 16 AS guess,
        /*flow_id*/ AS id
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND NOT initiator_guessed AND dst_payload_bytes > 0
      AND ({dst:String} = '' OR dst_ip = toIPv6OrDefault({dst:String}) AND site = {site:String} AND service = {service:String})
      AND service != '' AND /*unicast*/ AND src_role NOT IN ('scanner', 'monitor', 'backup')
),
pairs AS
(
    SELECT site, src_ip, dst_ip, service,
        /*src_inside*/ AS inside,
        min(dst_port) AS port,
        sum(refused) AS refusals,
        countIf(guess) AS guesses,
        refusals + guesses AS attempts,
        arraySort(groupArraySortedIf(4096)(toUInt64(total), guess OR refused > 0)) AS sizes,
        if(empty(sizes), 0, sizes[intDiv(length(sizes) + 1, 2)]) AS median_bytes,
        if(empty(sizes), 0, arrayCount(x -> x BETWEEN 0.65 * median_bytes AND 1.35 * median_bytes, sizes) / length(sizes)) AS alike,
        arrayFlatten(arrayMap(x -> arrayWithConstant(least(x.2, 64), x.1), groupArraySortedIf(4096)((toUnixTimestamp64Milli(start), refused + guess), guess OR refused > 0))) AS times,
        arrayExists((a, b) -> b - a < 600000, arrayResize(times, greatest(0, toInt64(length(times)) - {quick:UInt32} + 1)), arraySlice(times, {quick:UInt32}))
            AND {quick:UInt32} > 0 AND attempts >= {quick:UInt32} AS hasty,
        arraySort(groupUniqArrayIf(64)(user, user != '' AND (guess OR refused > 0))) AS users,
        arraySlice(arrayFilter(x -> length(times) > 0 AND x.1 >= times[least(length(times), {min_attempts:UInt32})] AND (x.3 OR x.2 >= 4 * median_bytes),
            groupArraySorted(4096)((toUnixTimestamp64Milli(start), total, accepted, id))), 1, 4) AS later,
        minIf(start, guess OR refused > 0) AS first_at, maxIf(end, guess OR refused > 0) AS last_at,
        groupArraySortedIf(5)(id, guess OR refused > 0) AS ids
    FROM logins
    WHERE NOT /*exempt*/
    GROUP BY site, probe, src_ip, dst_ip, service
    HAVING attempts >= 2
    ORDER BY attempts DESC, probe
    LIMIT 1 BY site, src_ip, dst_ip, service
),
-- pairs with as many connections that may be guesses: cheaper to ask than pairs once more
often AS
(
    SELECT src_ip, dst_ip
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND src_payload_bytes BETWEEN 20 AND 6000 AND dst_payload_bytes BETWEEN 20 AND 6000
      AND (app IN ('ssh', 'telnet', 'rdp', 'vnc') OR dst_port IN (21, 22, 23, 3389, 5900))
    GROUP BY src_ip, dst_ip
    HAVING count() >= {min_attempts:UInt32}
),
-- what a pair does on other days as well is a program at work
habits AS
(
    SELECT site, src_ip, dst_ip, port, uniqExact(toDate(ten)) AS days
    FROM
    (
        SELECT site, src_ip, dst_ip, dst_port AS port, toStartOfTenMinutes(start) AS ten
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 7 DAY AND start < {from:DateTime('UTC')} AND segment = 0 AND dst_payload_bytes > 0
          AND (src_ip, dst_ip) IN often
        GROUP BY site, probe, src_ip, dst_ip, port, ten
        HAVING count() >= {habit:UInt32}
    )
    GROUP BY site, src_ip, dst_ip, port
),
judged AS
(
    -- many users a few times each are password_spray's
    SELECT *, attempts >= {min_attempts:UInt32} AND (refusals >= {min_attempts:UInt32} OR alike >= {min_alike:Float64})
            AND NOT (refusals > 0 AND length(users) >= 8 AND attempts <= 3 * length(users)) AS enough,
        if(inside AND enough, /*src_text*/, '') AS src
    FROM pairs
    WHERE inside = 0 OR refusals > 0 OR (site, src_ip, dst_ip, port) NOT IN (SELECT site, src_ip, dst_ip, port FROM habits WHERE days >= 3)
)
SELECT site, src, /*dst_text*/ AS dst, service,
    any(inside) AS one_inside,
    min(port) AS least_port,
    count() AS sources,
    sum(attempts) AS all_attempts, max(attempts) AS most_attempts, sum(refusals) AS all_refusals,
    argMax(replaceRegexpOne(toString(src_ip), '^::ffff:', ''), (attempts, src_ip)) AS busiest,
    arrayMap(x -> concat(x.2, ' (', toString(-x.1), ')'), arraySlice(arraySort(groupArray((-toInt64(attempts), replaceRegexpOne(toString(src_ip), '^::ffff:', '')))), 1, 8)) AS source_sample,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(users)))), 1, 8) AS user_sample,
    toUInt64(argMax(median_bytes, (attempts, src_ip))) AS usual_bytes,
    countIf(enough AND notEmpty(later)) AS broken_in,
    arraySlice(arraySort(arrayFlatten(groupArrayIf(arrayMap(x -> concat(replaceRegexpOne(toString(src_ip), '^::ffff:', ''), if(x.3, ' was let in', concat(': ', toString(x.2), ' octets'))), later), enough))), 1, 4) AS success_sample,
    min(first_at) AS first, max(last_at) AS last,
    arraySlice(arrayConcat(arraySort(arrayFlatten(groupArrayIf(arrayMap(x -> x.4, later), enough))), arraySort(arrayFlatten(groupArray(ids)))), 1, 5) AS flow_ids,
    least(1, 0.5 + 0.25 * log10(all_attempts / {min_attempts:UInt32})) AS amount,
    argMax(if(refusals > 0, 1, alike), (attempts, src_ip)) AS likeness,
    if(broken_in > 0, 1, 0) AS success
FROM judged
GROUP BY site, src, dst_ip, service
HAVING (countIf(enough) > 0 OR sources >= {min_sources:UInt32} AND all_attempts >= {min_together:UInt32} AND src = '')
    AND countIf(hasty) = 0
    AND ({dst:String} = '' OR src = {src:String})
ORDER BY all_attempts DESC, src, dst, service, site
LIMIT 10000

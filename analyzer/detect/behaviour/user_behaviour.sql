-- Users who are, in the hour from {from}, at a machine they never had, or there at
-- an hour of the week as never before, or whose machines do far more than they do
-- for this user at this hour of the week. user and site narrow it to one; an empty
-- user means all. Each part is read as seldom as can be: ClickHouse works it out
-- again each time.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    window_start - INTERVAL {known_days:UInt32} DAY AS sight_first,
    window_start AS sight_last,
    window_start - INTERVAL {history_days:UInt32} DAY AS past,
    -- what was seen since belongs to what goes on
    window_start - INTERVAL {hold_hours:UInt32} HOUR AS settled,
    sightings AS (/*sightings*/),
    -- accounts that are no person's: at many addresses on more than one day
    (
        SELECT groupArray(id)
        FROM
        (
            SELECT id
            FROM (SELECT cityHash64(site, name) AS id, toDate(hour) AS day, uniqExact(ip) AS addresses FROM sightings WHERE hour >= past AND hour < toStartOfDay(window_start) GROUP BY id, day)
            GROUP BY id
            HAVING arrayReverseSort(groupArray(addresses))[2] > {max_addresses:UInt32}
        )
    ) AS shared,
    persons AS (SELECT * FROM sightings WHERE NOT has(shared, cityHash64(site, name))),
    -- each level has names for what the next one uses more than once, which is quicker by far
    people AS
    (
        SELECT *, notEmpty(now_at) AND NOT unknown AND week_distance > {slack_hours:Int32} AND NOT (day_distance <= {slack_hours:Int32} AND day_known) AS odd_hour
        FROM
        (
            SELECT site, name, since, before, now_at, began, ended, active_days, known_ips,
                arrayDistinct(arrayFilter(x -> NOT has(known_ips, x), now_at.1)) AS fresh_ips,
                arrayReverseSort(arrayMap(d -> toUInt64(countEqual(before_days, d)), arrayDistinct(before_days)))[2] AS busiest,
                -- hours to the nearest one known, round the week and round the day
                arrayMin(arrayMap(x -> least(abs(x - week_hour), 168 - abs(x - week_hour)), week_hours)) AS week_distance,
                arrayMin(arrayMap(x -> least(abs(x % 24 - week_hour % 24), 24 - abs(x % 24 - week_hour % 24)), week_hours)) AS day_distance,
                arrayExists(x -> intDiv(x, 24) = intDiv(week_hour, 24), week_hours) AS day_known,
                since + INTERVAL {warm_up_days:UInt32} DAY > window_start OR active_days < {min_days:UInt32} AS unknown
            FROM
            (
                SELECT site, name, since, before, now_at, began, ended, before.2 AS before_days, arrayDistinct(before.1) AS known_ips,
                    length(arrayDistinct(arrayFilter(x -> x >= toDate(past), before.2))) AS active_days,
                    arrayDistinct(arrayFlatten(arrayMap(x -> arrayMap(y -> toInt32(toDayOfWeek(x.2) - 1) * 24 + y, x.4), before))) AS week_hours,
                    toInt32(toDayOfWeek(window_start) - 1) * 24 + toInt32(toHour(window_start)) AS week_hour
                FROM
                (
                    SELECT site, name, min(appeared) AS since, groupArrayIf((ip, day, cards, past_hours), notEmpty(past_hours)) AS before,
                        groupArrayIf((ip, day, cards), now_here) AS now_at, minIf(came, now_here) AS began, maxIf(went, now_here) AS ended
                    FROM
                    (
                        SELECT site, name, ip, toDate(hour) AS day, min(s.hour) AS appeared, max(s.hour) AS latest, arrayDistinct(arrayFlatten(groupArray(s.macs))) AS cards,
                            groupUniqArrayIf(toInt32(toHour(s.hour)), s.hour <= settled) AS past_hours, max(s.hour = window_start) AS now_here,
                            minIf(s.began, s.hour = window_start) AS came, maxIf(s.ended, s.hour = window_start) AS went
                        FROM persons AS s
                        GROUP BY site, name, ip, day
                    )
                    GROUP BY site, name
                    HAVING max(latest) > settled
                )
            )
        )
    ),
    -- the same card or name at another address is the same machine; what a login says of itself (ntlm) is not asked
    named AS
    (
        SELECT site, ip, day, arraySort(groupUniqArray(id)) AS ids
        FROM
        (
            SELECT site, ip, arrayJoin([toDate(hour), toDate(hour) + 1]) AS day,
                arrayJoin(arrayConcat(if(name != '', [concat('name ', lower(splitByChar('.', name)[1]))], []), if(mac != 0, [concat('card ', leftPad(lower(hex(mac)), 12, '0'))], []))) AS id
            FROM assets_seen
            WHERE hour >= sight_first - INTERVAL 1 DAY AND hour <= window_start AND source IN ('dhcp', 'arp', 'kerberos', 'netbios', 'mdns')
              AND (site, ip) IN (SELECT site, arrayJoin(arrayConcat(known_ips, fresh_ips)) FROM people WHERE notEmpty(fresh_ips) AND NOT unknown)
        )
        GROUP BY site, ip, day
    ),
    machines AS
    (
        SELECT site, name, max(busiest) AS most,
            uniqExactIf(if(empty(ids), text, arrayMax(ids)), NOT fresh AND day >= toDate(past)) AS kept_names, uniqExactIf(ip, NOT fresh AND day >= toDate(past)) AS kept_ips,
            least(kept_names, kept_ips) AS kept,
            arrayDistinct(arrayFlatten(groupArrayIf(ids, NOT fresh))) AS known_ids,
            arraySort(arrayFilter(x -> NOT hasAny(x.3, known_ids), groupArrayIf((ip, if(empty(ids), text, arrayMax(ids)), ids), fresh AND common < {common_users:UInt32}))) AS found,
            arrayDistinct(found.1) AS found_ips, toUInt64(length(arrayDistinct(found.2))) AS n,
            if(kept <= {max_machines:UInt32} OR n >= {several:UInt32} AND n >= {record:Float64} * most, n, toUInt64(0)) AS counted
        FROM
        (
            SELECT e.site AS site, e.name AS name, e.busiest AS busiest, e.entry.1 AS ip, e.entry.2 AS day, e.fresh AS fresh, replaceRegexpOne(toString(e.entry.1), '^::ffff:', '') AS text,
                arraySort(arrayDistinct(arrayConcat(a.ids, arrayMap(m -> concat('card ', leftPad(lower(hex(m)), 12, '0')), e.entry.3)))) AS ids, o.users AS common
            FROM
            (
                SELECT site, name, busiest, arrayJoin(arrayConcat(arrayMap(x -> (x.1, x.2, x.3), before), arrayFilter(x -> has(fresh_ips, x.1), now_at))) AS entry, has(fresh_ips, entry.1) AS fresh
                FROM people
                WHERE notEmpty(fresh_ips) AND NOT unknown
            ) AS e
            LEFT JOIN named AS a ON a.site = e.site AND a.ip = e.entry.1 AND a.day = e.entry.2
            LEFT JOIN (SELECT site, ip, uniqExact(name) AS users FROM persons WHERE hour >= past AND hour <= settled GROUP BY site, ip) AS o ON o.site = e.site AND o.ip = e.entry.1
        )
        GROUP BY site, name
    ),
    -- addresses that one user has to themselves now, and what is done there
    hot AS
    (
        SELECT h.site AS site, p.owner AS name, sumForEach(h.v) AS now, min(h.began) AS began, max(h.ended) AS ended, arraySort(groupUniqArray(h.host)) AS hosts
        FROM
        (
            SELECT site, host, /*features*/ AS v, min(first) AS began, max(last) AS ended
            FROM hosts_1h
            WHERE hour = window_start AND primary_observer AND arrayExists((a, b) -> host >= a AND host <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
            GROUP BY site, host
        ) AS h
        INNER JOIN (SELECT site, ip, min(name) AS owner FROM persons WHERE hour > settled GROUP BY site, ip HAVING uniqExact(name) = 1) AS p ON h.site = p.site AND h.host = p.ip
        GROUP BY site, name
        HAVING arrayExists((v, m) -> v >= m, now, {minimum:Array(UInt64)})
    ),
    -- the same in the past, at the addresses that those of hot ever had
    held AS
    (
        SELECT site, ip, toDateTime(at, 'UTC') AS hour, min(name) AS owner
        FROM
        (
            SELECT site, ip, name, arrayJoin(arrayMap(i -> toUnixTimestamp(hour) + 3600 * i, range({hold_hours:UInt32}))) AS at
            FROM persons
            WHERE hour >= past - INTERVAL {hold_hours:UInt32} HOUR AND hour < window_start
              AND (site, ip) IN (SELECT site, ip FROM persons WHERE hour >= past - INTERVAL {hold_hours:UInt32} HOUR AND (site, name) IN (SELECT site, name FROM hot))
        )
        WHERE at >= toUnixTimestamp(past) AND at < {from:UInt32}
        GROUP BY site, ip, at
        HAVING uniqExact(name) = 1
    ),
    history AS
    (
        SELECT site, name, groupArrayArray(hours) AS active, groupArrayArray(vs) AS vectors, min(arrayMin(hours)) AS since, groupArray(peaks) AS days,
            arrayMap(i -> arrayReverseSort(arrayMap(x -> x[i], days))[2], [1, 2, 3, 4]) AS seconds
        FROM
        (
            SELECT site, name, toDate(hour) AS day, groupArray(hour) AS hours, groupArray(v) AS vs, maxForEach(v) AS peaks
            FROM
            (
                SELECT h.site AS site, o.owner AS name, h.hour AS hour, sumForEach(h.v) AS v
                FROM
                (
                    SELECT site, host, hour, /*features*/ AS v
                    FROM hosts_1h
                    WHERE hour >= past AND hour < window_start AND primary_observer AND arrayExists((a, b) -> host >= a AND host <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
                    GROUP BY site, host, hour
                ) AS h
                INNER JOIN held AS o ON h.site = o.site AND h.host = o.ip AND h.hour = o.hour
                GROUP BY site, name, hour
            )
            GROUP BY site, name, day
        )
        GROUP BY site, name
    ),
    seen_hours AS
    (
        SELECT site, arraySort(groupUniqArray(hour)) AS all_hours
        FROM hosts_1h
        WHERE hour >= past AND hour < window_start
        GROUP BY site
    ),
    known AS
    (
        SELECT hot.site AS site, hot.name AS name, hot.now AS now, hot.began AS began, hot.ended AS ended, hot.hosts AS hosts, y.seconds AS seconds,
            arrayFilter(x -> x >= y.since, s.all_hours) AS hours, arrayMap(x -> indexOf(y.active, x), hours) AS places, y.vectors AS vectors
        FROM hot
        INNER JOIN history AS y ON hot.site = y.site AND hot.name = y.name
        INNER JOIN seen_hours AS s ON hot.site = s.site
        WHERE arrayExists((v, m, x) -> v >= m AND v > {record:Float64} * x, hot.now, {minimum:Array(UInt64)}, y.seconds)
    ),
    series AS
    (
        SELECT site, name, began, ended, hosts, hours, feature, now[feature] AS observed, seconds[feature] AS second_peak,
            arrayMap(p -> if(p > 0, vectors[p][feature], toUInt64(0)), places) AS bytes
        FROM known
        ARRAY JOIN arrayEnumerate(now) AS feature
        WHERE observed >= {minimum:Array(UInt64)}[feature] AND observed > {record:Float64} * second_peak
    ),
    /*judged*/,
    traffic AS
    (
        SELECT site, name, min(began) AS first, max(ended) AS last, max(hosts) AS places, max(length(hours)) AS past_hours, max(level) AS fit, max(samples) AS fits,
            arraySort(groupArray((-z, feature, observed, median, mad, second_peak))) AS oddities, max(z) AS most_z, max(1 - second_peak / greatest(observed, 1)) AS novelty
        FROM judged
        WHERE level != 'learning' AND z >= {min_z:Float64}
        GROUP BY site, name
        HAVING length(oddities) >= 2 OR most_z >= {alone_z:Float64}
    ),
    verdicts AS
    (
        SELECT *, counted > 0 AND NOT (counted < {several:UInt32} AND movers >= 5 AND movers >= {together:Float64} * users AND desks >= movers) AS moved,
            odd_hour AND (moved OR NOT (awake >= 5 AND awake >= {together:Float64} * users)) AS woken
        FROM
        (
            SELECT p.site AS site, p.name AS name, p.since AS known_since, p.active_days AS days, toBool(p.unknown) AS learning, notEmpty(p.fresh_ips) AS fresh,
                m.counted AS counted, m.found AS found, m.found_ips AS found_ips, m.kept AS kept, p.odd_hour AS odd_hour, p.week_distance AS week_distance,
                t.oddities AS oddities, t.fit AS level, t.fits AS samples, t.past_hours AS past_hours, t.most_z AS z, t.novelty AS novelty,
                if(notEmpty(t.oddities) AND (empty(p.now_at) OR t.first < p.began), t.first, p.began) AS first, if(notEmpty(t.oddities), greatest(t.last, p.ended), p.ended) AS last,
                arraySort(arrayDistinct(arrayConcat(p.now_at.1, t.places))) AS addresses,
                -- what many users do at once is the network's doing: moved desks, a night of updates
                countIf(notEmpty(p.now_at)) OVER sites AS users,
                countIf(m.counted BETWEEN 1 AND {several:UInt32} - 1) OVER sites AS movers,
                uniqExactArrayIf(m.found_ips, m.counted BETWEEN 1 AND {several:UInt32} - 1) OVER sites AS desks,
                countIf(p.odd_hour AND m.counted < {several:UInt32}) OVER sites AS awake
            FROM people AS p
            LEFT JOIN machines AS m ON m.site = p.site AND m.name = p.name
            LEFT JOIN traffic AS t ON t.site = p.site AND t.name = p.name
            WINDOW sites AS (PARTITION BY p.site)
        )
    )
SELECT site, name, known_since, toUInt64(days) AS days, learning, arrayMap(x -> replaceRegexpOne(toString(x), '^::ffff:', ''), addresses) AS hosts,
    if(moved, counted, 0) AS new_machines, toUInt64(kept) AS usual_machines,
    arrayMap(x -> concat(replaceRegexpOne(toString(x.1), '^::ffff:', ''), if(empty(x.3), '', concat(' (', arrayStringConcat(x.3, ', '), ')'))), found) AS found_text,
    toBool(woken) AS new_hour, toUInt64(week_distance) AS distance_hours,
    toUInt64(past_hours) AS past_hours, level, toUInt64(samples) AS samples, toDateTime64(first, 9, 'UTC') AS first, toDateTime64(last, 9, 'UTC') AS last,
    arrayMap(x -> x.2, oddities) AS which, arrayMap(x -> x.3, oddities) AS amounts, arrayMap(x -> -x.1, oddities) AS zs,
    arrayMap(x -> x.4, oddities) AS medians, arrayMap(x -> x.5, oddities) AS mads, arrayMap(x -> x.6, oddities) AS ceilings, z,
    if(moved, least(1, 0.2 + 0.2 * counted), 0) AS machines, if(woken, least(1, 0.2 + week_distance / 12), 0) AS hour,
    if(empty(oddities), 0, 0.5 * least(1, greatest(0, 0.5 + 0.5 * log2(greatest(z, 0.001) / {alone_z:Float64}))) + 0.2 * least(1, length(oddities) / 3) + 0.3 * novelty) AS traffic
FROM verdicts
WHERE (learning AND fresh OR moved OR woken OR notEmpty(oddities)) AND ({user:String} = '' OR name = {user:String} AND site = {site:String})
ORDER BY new_machines DESC, z DESC, name, site
LIMIT 10000

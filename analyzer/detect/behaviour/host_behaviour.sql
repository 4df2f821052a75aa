-- Inside hosts that did far more in the hour from {from} than they do at this hour
-- of the week, in ways that at most one of their days came near to. host and site
-- narrow it to one; an empty host means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    window_start - INTERVAL {history_days:UInt32} DAY AS past,
    hot AS
    (
        SELECT site, host, /*features*/ AS now, min(first) AS began, max(last) AS ended
        FROM hosts_1h
        WHERE hour = window_start AND primary_observer
          AND arrayExists((a, b) -> host >= a AND host <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})
          AND NOT arrayExists((a, b) -> host >= a AND host <= b, {exempt_first:Array(IPv6)}, {exempt_last:Array(IPv6)})
          AND ({host:String} = '' OR host = toIPv6OrDefault({host:String}) AND site = {site:String})
        GROUP BY site, host
        HAVING arrayExists((v, m) -> v >= m, now, {minimum:Array(UInt64)})
    ),
    seen_hours AS
    (
        SELECT site, arraySort(groupUniqArray(hour)) AS all_hours
        FROM hosts_1h
        WHERE hour >= past AND hour < window_start AND site IN (SELECT site FROM hot)
        GROUP BY site
    ),
    history AS
    (
        SELECT site, host, groupArray(hour) AS active, groupArray(v) AS vectors, min(hour) AS since
        FROM
        (
            SELECT site, host, hour, /*features*/ AS v
            FROM hosts_1h
            WHERE hour >= past AND hour < window_start AND primary_observer AND (site, host) IN (SELECT site, host FROM hot)
            GROUP BY site, host, hour
        )
        GROUP BY site, host
    ),
    known AS
    (
        SELECT hot.site AS site, hot.host AS host, hot.now AS now, hot.began AS began, hot.ended AS ended, history.since AS since,
            if(empty(history.active) OR history.since + INTERVAL {warm_up_days:UInt32} DAY > window_start, [],
                arrayFilter(h -> h >= history.since, seen_hours.all_hours)) AS hours,
            arrayMap(h -> indexOf(history.active, h), hours) AS places,
            history.vectors AS vectors
        FROM hot LEFT JOIN history ON hot.site = history.site AND hot.host = history.host
        LEFT JOIN seen_hours ON hot.site = seen_hours.site
    ),
    series AS
    (
        SELECT site, host, began, ended, since, hours, feature, now[feature] AS observed, {minimum:Array(UInt64)}[feature] AS least,
            arrayMap(p -> if(p > 0, vectors[p][feature], toUInt64(0)), places) AS bytes
        FROM known
        ARRAY JOIN arrayEnumerate(now) AS feature
        WHERE observed >= least
    ),
    /*judged*/,
    features AS
    (
        SELECT site, host, began, ended, since, length(hours) AS known_hours, feature, observed, median AS usual, mad AS spread, z AS robust, level AS fit, samples AS fits,
            arrayReverseSort(arrayMap(d -> arrayMax(arrayMap((v, h) -> if(toDate(h) = d, v, 0), bytes, hours)), arrayDistinct(arrayMap(h -> toDate(h), hours)))) AS peaks,
            toUInt64(peaks[2]) AS second_peak,
            fit != 'learning' AND robust >= {min_z:Float64} AND observed > {record:Float64} * second_peak AS odd
        FROM judged
    ),
    verdicts AS
    (
        SELECT site, host, min(began) AS first, max(ended) AS last, min(since) AS known_since, max(known_hours) AS past_hours, max(fit) AS level, max(fits) AS samples,
            toBool(max(fit = 'learning')) AS learning,
            arraySort(groupArrayIf((-robust, feature, observed, usual, spread, second_peak), odd)) AS oddities,
            maxIf(robust, odd) AS z, maxIf(1 - second_peak / greatest(observed, 1), odd) AS novelty
        FROM features
        GROUP BY site, host
    )
SELECT site, replaceRegexpOne(toString(host), '^::ffff:', '') AS host_text, first, last, known_since, toUInt64(past_hours) AS past_hours, level,
    toUInt64(samples) AS samples, learning,
    arrayMap(x -> x.2, oddities) AS which, arrayMap(x -> x.3, oddities) AS amounts, arrayMap(x -> -x.1, oddities) AS zs,
    arrayMap(x -> x.4, oddities) AS medians, arrayMap(x -> x.5, oddities) AS mads, arrayMap(x -> x.6, oddities) AS ceilings,
    z, least(1, greatest(0, 0.5 + 0.5 * log2(greatest(z, 0.001) / {alone_z:Float64}))) AS deviation,
    least(1, length(which) / 4) AS breadth, novelty
FROM verdicts
WHERE learning OR length(which) >= 2 OR z >= {alone_z:Float64}
ORDER BY z DESC, host_text, site
LIMIT 10000

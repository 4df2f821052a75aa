-- Hourly measures of each link in the seven days of the window against the seven
-- days before: Kolmogorov-Smirnov. name, measure and site narrow it to one; an
-- empty name means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    hourly AS
    (
        SELECT site, toString(probe) AS name, hour,
            [('octets', toFloat64(sum(sent_bytes + received_bytes))), ('connections', toFloat64(sum(flows))),
             ('failed connections in percent', 100 * sum(failed) / greatest(1, sum(flows))), ('hosts that begin connections', toFloat64(uniqExact(host)))] AS measures
        FROM hosts_1h
        WHERE hour >= window_start - (window_end - window_start) AND hour < window_end AND role = 'initiator'
          AND ({name:String} = '' OR probe = {name:String} AND site = {site:String})
        GROUP BY site, name, hour
    ),
    tested AS
    (
        SELECT site, name, m.1 AS measure, kolmogorovSmirnovTest('two-sided', 'asymp')(m.2, toUInt8(hour >= window_start)) AS test,
            countIf(hour < window_start) AS before, countIf(hour >= window_start) AS after,
            quantileExactIf(0.5)(m.2, hour < window_start) AS median_before, quantileExactIf(0.5)(m.2, hour >= window_start) AS median_after
        FROM hourly
        ARRAY JOIN measures AS m
        WHERE (site, name) IN
            (SELECT site, name FROM hourly GROUP BY site, name
             HAVING count() >= {min_values:UInt32} AND 4 * countIf(hour < window_start) >= count() AND 4 * countIf(hour >= window_start) >= count())
        GROUP BY site, name, measure
    )
SELECT site, name, measure, before, after, median_before, median_after, test.1 AS effect, test.2 AS p,
    least(1, effect) AS distance
FROM tested
WHERE isFinite(effect) AND p < {max_p:Float64} AND effect > {min_effect:Float64} AND ({measure:String} = '' OR measure = {measure:String})
ORDER BY effect DESC, site, name, measure
LIMIT 1000

-- Octets of each application by the hour up to {to}, for forecasts: IP octets,
-- each flow once, one value an hour since its first, 0 where the site was seen
-- without it and -1 where it was not seen. With lower and upper, the bounds of the
-- window's hours, it says how far these were left. name and site narrow it to one
-- application; an empty name means all of a size.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    hourly AS
    (
        SELECT site, toString(app) AS name, hour, toFloat64(sum(src_bytes + dst_bytes)) AS octets
        FROM flows_1h
        WHERE hour >= window_start - INTERVAL {history_days:UInt32} DAY AND hour < window_end AND primary_observer
          AND ({name:String} = '' OR site = {site:String})
        GROUP BY site, name, hour
    ),
    lines AS
    (
        SELECT site, name, since, series
        FROM
        (
            SELECT site, name, min(hour) AS since, groupArray(hour) AS hours, groupArray(octets) AS amounts
            FROM hourly
            WHERE name != '' AND ({name:String} = '' OR name = {name:String})
            GROUP BY site, name
        ) AS own
        INNER JOIN (SELECT site, groupUniqArray(hour) AS seen FROM hourly GROUP BY site) AS others ON own.site = others.site
        ARRAY JOIN
            [arrayMap(i -> if(indexOf(hours, since + 3600 * i) > 0, amounts[indexOf(hours, since + 3600 * i)], if(has(seen, since + 3600 * i), 0., -1.)),
                range(toUInt32((window_end - since) / 3600)))] AS series
    )
/*outside*/

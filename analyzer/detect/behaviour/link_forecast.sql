-- Octets of each link by the hour up to {to}, for forecasts: IP octets of all that
-- a probe saw, one value an hour since its first, -1 where the probe saw nothing.
-- With lower and upper, the bounds of the window's hours, it says how far these
-- were left. name and site narrow it to one link; an empty name means all.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    hourly AS
    (
        SELECT site, toString(probe) AS name, hour, toFloat64(sum(sent_bytes + received_bytes)) AS octets
        FROM hosts_1h
        WHERE hour >= window_start - INTERVAL {history_days:UInt32} DAY AND hour < window_end AND role = 'initiator'
          AND ({name:String} = '' OR probe = {name:String} AND site = {site:String})
        GROUP BY site, name, hour
    ),
    lines AS
    (
        SELECT site, name, min(hour) AS since, groupArray(hour) AS hours, groupArray(octets) AS amounts,
            arrayMap(i -> indexOf(hours, since + 3600 * i), range(toUInt32((window_end - since) / 3600))) AS places,
            arrayMap(p -> if(p > 0, amounts[p], -1.), places) AS series
        FROM hourly
        GROUP BY site, name
    )
/*outside*/

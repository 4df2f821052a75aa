-- Probes that were heard in the three hours before [from, to) and not in it, while
-- others of them were: by the seconds of their ledgers.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    heard AS
    (
        SELECT site, probe, max(at) AS latest, minOrNullIf(at, at >= window_start) AS back, countIf(at >= window_start) AS minutes, uniqExactIf(toStartOfHour(at), at < window_start) AS hours, sum(packets) AS seen
        FROM
        (
            SELECT site, probe, toStartOfMinute(second) AS at, sum(seen_packets) AS packets
            FROM ledger
            WHERE second >= window_start - INTERVAL 3 HOUR AND second < window_end
            GROUP BY site, probe, at
        )
        GROUP BY site, probe
    ),
    last_flows AS
    (
        SELECT probe, groupArraySorted(5)(/*flow_id*/) AS ids FROM flows
        WHERE start >= window_start - INTERVAL 3 HOUR AND start < window_start AND probe IN (SELECT probe FROM heard WHERE minutes = 0)
        GROUP BY probe
    ),
    ended AS
    (
        SELECT probe, max(end_of_stream) AS over FROM batches FINAL
        WHERE watermark >= window_start - INTERVAL 3 HOUR AND watermark < window_end AND end_of_stream
        GROUP BY probe
    )
SELECT h.site AS site, toString(h.probe) AS actor, '' AS victim, '' AS value,
    [concat('nothing since ', toString(h.latest), ' UTC'), concat('heard in ', toString(h.hours), ' of the 3 hours before'), if(e.over, 'it had ended its stream', 'it had not ended its stream')] AS details,
    toFloat64(dateDiff('minute', h.latest, window_end)) AS amount, toUInt64(1) AS hosts, h.seen AS bytes, toBool(e.over) AS learning, toDateTime64(h.latest, 9, 'UTC') AS first, toDateTime64(window_end, 9, 'UTC') AS last,
    f.ids AS flow_ids, h.hours / 3 AS strength, 1. AS rarity
FROM heard AS h
INNER JOIN last_flows AS f ON f.probe = h.probe
LEFT JOIN ended AS e ON e.probe = h.probe
WHERE h.minutes = 0 AND h.hours >= 3 AND (SELECT count() FROM heard WHERE minutes > 0) > 0
  AND ({one:UInt8} = 0 OR actor = {actor:String} AND h.site = {site:String})
ORDER BY actor, site
LIMIT {limit:UInt32}

-- Octets of each class of service (DSCP of the first packet of the direction) by
-- link, from raw flows.
SELECT site, link, dscp, toUInt64(sum(slotted)) AS total, arrayReverseSort(groupArray(slotted))[{rank:UInt32}] AS percentile, max(slotted) AS peak
FROM
(
    SELECT site, toString(probe) AS link, pair.1 AS dscp, intDiv(toUnixTimestamp(toDateTime(start, 'UTC')), {slot:UInt32}) AS at, sum(pair.2) AS slotted
    FROM flows
    ARRAY JOIN [(src_dscp, src_bytes), (dst_dscp, dst_bytes)] AS pair
    WHERE start >= toDateTime({from:UInt32}, 'UTC') AND start < toDateTime({to:UInt32}, 'UTC') AND pair.2 > 0
    GROUP BY site, link, dscp, at
)
GROUP BY site, link, dscp
ORDER BY site, link, total DESC, dscp
LIMIT 5000

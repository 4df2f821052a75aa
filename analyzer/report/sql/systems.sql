-- As prefixes_1m.sql, of autonomous systems, from raw flows; 0 is unknown.
WITH
    keyed AS
    (
        SELECT site, toString(probe) AS link, start, toString(pair.1) AS src, toString(pair.2) AS dst, pair.3 AS octets
        FROM flows
        ARRAY JOIN [(src_asn, dst_asn, src_bytes), (dst_asn, src_asn, dst_bytes)] AS pair
        WHERE start >= toDateTime({from:UInt32}, 'UTC') AND start < toDateTime({to:UInt32}, 'UTC') AND pair.3 > 0 AND (pair.1 > 0 OR pair.2 > 0)
    )
SELECT site, link, src, dst, toUInt64(sum(slotted)) AS total, arrayReverseSort(groupArray(slotted))[{rank:UInt32}] AS percentile, max(slotted) AS peak
FROM
(
    SELECT site, link, src, dst, intDiv(toUnixTimestamp(toDateTime(start, 'UTC')), {slot:UInt32}) AS at, sum(octets) AS slotted
    FROM keyed
    WHERE (site, link, src, dst) IN (SELECT site, link, src, dst FROM keyed GROUP BY site, link, src, dst ORDER BY sum(octets) DESC, site, link, src, dst LIMIT {pairs:UInt32})
    GROUP BY site, link, src, dst, at
)
GROUP BY site, link, src, dst
ORDER BY total DESC, site, link, src, dst

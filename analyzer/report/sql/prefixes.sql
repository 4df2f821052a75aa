-- Octets from prefix to prefix by link: the pairs with most, with the slot that is at
-- the given rank from the busiest (95th percentile: 5 % of all slots are busier).
WITH
    sums AS
    (
        SELECT site, probe, /*time*/ AS t, pair.1 AS a, pair.2 AS b, pair.3 AS octets
        FROM /*table*/
        ARRAY JOIN [(src_ip, dst_ip, src_bytes), (dst_ip, src_ip, dst_bytes)] AS pair
        WHERE /*time*/ >= toDateTime({from:UInt32}, 'UTC') AND /*time*/ < toDateTime({to:UInt32}, 'UTC') AND pair.3 > 0
    ),
    keyed AS
    (
        SELECT site, toString(probe) AS link, t, octets,
            if(startsWith(toString(a), '::ffff:'), concat(replaceOne(toString(IPv6CIDRToRange(a, toUInt8(96 + {bits4:UInt8})).1), '::ffff:', ''), '/', toString({bits4:UInt8})),
                concat(toString(IPv6CIDRToRange(a, {bits6:UInt8}).1), '/', toString({bits6:UInt8}))) AS src,
            if(startsWith(toString(b), '::ffff:'), concat(replaceOne(toString(IPv6CIDRToRange(b, toUInt8(96 + {bits4:UInt8})).1), '::ffff:', ''), '/', toString({bits4:UInt8})),
                concat(toString(IPv6CIDRToRange(b, {bits6:UInt8}).1), '/', toString({bits6:UInt8}))) AS dst
        FROM sums
    )
SELECT site, link, src, dst, toUInt64(sum(slotted)) AS total, arrayReverseSort(groupArray(slotted))[{rank:UInt32}] AS percentile, max(slotted) AS peak
FROM
(
    SELECT site, link, src, dst, intDiv(toUnixTimestamp(t), {slot:UInt32}) AS at, sum(octets) AS slotted
    FROM keyed
    WHERE (site, link, src, dst) IN (SELECT site, link, src, dst FROM keyed GROUP BY site, link, src, dst ORDER BY sum(octets) DESC, site, link, src, dst LIMIT {pairs:UInt32})
    GROUP BY site, link, src, dst, at
)
GROUP BY site, link, src, dst
ORDER BY total DESC, site, link, src, dst

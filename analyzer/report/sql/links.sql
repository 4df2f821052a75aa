-- Octets of each link by the slot, all that its probe saw: in all, out of the own
-- networks, and into them.
SELECT site, toString(probe) AS link, toUInt32(intDiv(toUnixTimestamp(/*time*/), {slot:UInt32}) * {slot:UInt32}) AS at,
    sum(src_bytes + dst_bytes) AS octets,
    sum(multiIf(src_own AND NOT dst_own, src_bytes, dst_own AND NOT src_own, dst_bytes, 0)) AS out,
    sum(multiIf(src_own AND NOT dst_own, dst_bytes, dst_own AND NOT src_own, src_bytes, 0)) AS into
FROM
(
    SELECT site, probe, /*time*/, src_bytes, dst_bytes,
        arrayExists((a, b) -> src_ip >= a AND src_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)}) AS src_own,
        arrayExists((a, b) -> dst_ip >= a AND dst_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)}) AS dst_own
    FROM /*table*/
    WHERE /*time*/ >= toDateTime({from:UInt32}, 'UTC') AND /*time*/ < toDateTime({to:UInt32}, 'UTC')
)
GROUP BY site, link, at
ORDER BY site, link, at
LIMIT 2000000

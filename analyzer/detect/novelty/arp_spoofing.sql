-- Cards that claim addresses without being asked: answers of ARP whose question
-- was not seen, in [from, to). A card is told when it claims two or more addresses
-- to others, or one that another card answers for, too.
WITH
    claims AS
    (
        SELECT site, probe, dst_mac AS mac, dst_ip AS claimed, src_ip AS told, start, end, dst_packets AS answers, src_packets AS questions, src_bytes + dst_bytes AS octets, toString(dst_role) AS role, /*flow_id*/ AS id
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND app = 'arp' AND dst_packets > 0 AND dst_mac != 0 AND src_ip != dst_ip AND dst_ip != toIPv6('::ffff:0.0.0.0')
          AND bitAnd(bitShiftRight(dst_mac, 40), 1) = 0
    ),
    -- who answers, or asks, for an address at all
    owners AS
    (
        SELECT site, ip, groupUniqArray(mac) AS macs
        FROM
        (
            SELECT site, if(side, dst_ip, src_ip) AS ip, if(side, dst_mac, src_mac) AS mac
            FROM flows ARRAY JOIN [true, false] AS side
            WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND app = 'arp' AND if(side, dst_packets, src_packets) > 0
        )
        WHERE mac != 0 AND ip != toIPv6('::ffff:0.0.0.0') AND bitAnd(bitShiftRight(mac, 40), 1) = 0
        GROUP BY site, ip
    ),
    cards AS
    (
        SELECT site, mac, max(n) AS answers, max(q) AS questions, max(b) AS bytes, min(f) AS first, max(l) AS last, arraySort(arrayDistinct(arrayFlatten(groupArray(c)))) AS addresses,
            arrayDistinct(arrayFlatten(groupArray(t))) AS told, max(r) AS role, arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS ids
        FROM
        (
            SELECT site, probe, mac, sumIf(answers, questions = 0) AS n, sum(questions) AS q, sum(octets) AS b, minIf(start, questions = 0) AS f, maxIf(end, questions = 0) AS l,
                groupUniqArrayIf(claimed, questions = 0) AS c, groupUniqArrayIf(told, questions = 0) AS t, max(role) AS r, groupArraySortedIf(5)(id, questions = 0) AS i
            FROM claims
            GROUP BY site, probe, mac
        )
        WHERE n > 0
        GROUP BY site, mac
    ),
    contested AS
    (
        SELECT c.site AS site, c.mac AS mac, countIf(length(o.macs) > 1) AS disputed
        FROM (SELECT site, mac, arrayJoin(addresses) AS ip FROM cards) AS c INNER JOIN owners AS o ON o.site = c.site AND o.ip = c.ip
        GROUP BY site, mac
    )
SELECT c.site AS site, MACNumToString(c.mac) AS actor, '' AS victim, '' AS value,
    [concat(toString(c.answers), ' answers that nobody asked for, to ', toString(length(c.told)), ' hosts'),
     concat('it claims ', arrayStringConcat(arrayMap(x -> replaceRegexpOne(toString(x), '^::ffff:', ''), arraySlice(c.addresses, 1, 6)), ', ')), concat(toString(d.disputed), ' of them are used by another card too')] AS details,
    toFloat64(length(c.addresses)) AS amount, toUInt64(length(c.told)) AS hosts, c.bytes AS bytes,
    -- both ways: each of two hosts is told that the other is here
    toBool(length(arrayIntersect(c.addresses, c.told)) < 2 AND d.disputed = 0) AS learning,
    c.first AS first, c.last AS last, c.ids AS flow_ids,
    least(1, 0.4 + 0.1 * log2(c.answers) + if(d.disputed > 0 OR length(arrayIntersect(c.addresses, c.told)) >= 2, 0.3, 0)) AS strength,
    least(1, c.answers / greatest(1, c.questions) / 3) AS rarity
FROM cards AS c
INNER JOIN contested AS d ON d.site = c.site AND d.mac = c.mac
WHERE c.answers >= {min_answers:UInt32} AND c.answers > c.questions AND (length(c.addresses) >= 2 AND length(c.told) >= 2 OR d.disputed > 0 AND c.answers >= 3 * {min_answers:UInt32})
  AND c.role NOT IN ('gateway', 'proxy', 'nat')
  -- virtual router addresses move by design (RFC 5798, HSRP)
  AND bitShiftRight(c.mac, 8) NOT IN (0x00005e0001, 0x00005e0002, 0x00000c07ac, 0x00000c9ff0)
  AND ({one:UInt8} = 0 OR actor = {actor:String} AND c.site = {site:String})
ORDER BY amount DESC, actor, site
LIMIT {limit:UInt32}

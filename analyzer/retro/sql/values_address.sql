-- Addresses of a part that are indicators, or in a network that is one. Each is
-- looked up once, however many flows it has. Whole days are whole partitions, so
-- the time of a flow need not be read.
INSERT INTO retro_matches (sweep, source, first, field, seen, kind, value, list, confidence)
WITH (SELECT groupUniqArray(bits) FROM retro_indicators WHERE sweep = {sweep:String} AND kind = 'network') AS lengths
SELECT DISTINCT {sweep:String}, {source:String}, {first:Date}, 'address', toString(a.ip), i.kind, i.value, i.list, i.confidence
FROM
(
    SELECT ip, arrayJoin(arrayConcat([(toUInt8(128), ip)], arrayMap(l -> (l, tupleElement(IPv6CIDRToRange(ip, l), 1)), lengths))) AS net
    FROM
    (
        SELECT DISTINCT ip FROM
        (
            SELECT src_ip AS ip FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} GROUP BY src_ip
            UNION ALL
            SELECT dst_ip AS ip FROM flows WHERE _partition_id >= {low:String} AND _partition_id <= {high:String} GROUP BY dst_ip
        )
    )
) AS a
INNER JOIN (SELECT kind, value, list, confidence, net, bits FROM retro_indicators FINAL WHERE sweep = {sweep:String} AND bits > 0) AS i ON i.bits = a.net.1 AND i.net = a.net.2

-- Where flows are gone: pairs of a rollup, to its hour or day.
INSERT INTO retro_hits (sweep, source, part, list, kind, value, field, seen, host, first, last, flows, answered, src_bytes, dst_bytes, ports, confidence, at)
SELECT {sweep:String}, {source:String}, {first:Date}, m.list, m.kind, m.value, f.field, f.seen, f.host, f.began, f.ended, f.n, f.a, f.sent, f.received, f.p, m.confidence, now64(3, 'UTC')
FROM
(
    SELECT field, seen, host, min(b) AS began, max(e) AS ended, max(n1) AS n, max(a1) AS a, max(s1) AS sent, max(r1) AS received,
           arraySlice(arraySort(groupUniqArrayArray(p1)), 1, 8) AS p
    FROM
    (
        SELECT probe, 'dst_ip' AS field, toString(dst_ip) AS seen, src_ip AS host, min({time:Identifier}) AS b, max({time:Identifier}) AS e,
               sum(flows) AS n1, sum(flows) - sum(failed) AS a1, sum(src_bytes) AS s1, sum(dst_bytes) AS r1, groupUniqArray(8)(dst_port) AS p1
        FROM {source:Identifier}
        WHERE {time:Identifier} >= {from:DateTime('UTC')} AND {time:Identifier} < {to:DateTime('UTC')}
          AND dst_ip IN (SELECT toIPv6(seen) FROM retro_matches WHERE sweep = {sweep:String} AND source = {source:String} AND first = {first:Date} AND field = 'address')
        GROUP BY probe, seen, host
        UNION ALL
        SELECT probe, 'src_ip' AS field, toString(src_ip) AS seen, dst_ip AS host, min({time:Identifier}), max({time:Identifier}),
               sum(flows), sum(flows) - sum(failed), sum(src_bytes), sum(dst_bytes), groupUniqArray(8)(dst_port)
        FROM {source:Identifier}
        WHERE {time:Identifier} >= {from:DateTime('UTC')} AND {time:Identifier} < {to:DateTime('UTC')}
          AND src_ip IN (SELECT toIPv6(seen) FROM retro_matches WHERE sweep = {sweep:String} AND source = {source:String} AND first = {first:Date} AND field = 'address')
        GROUP BY probe, seen, host
    )
    GROUP BY field, seen, host
) AS f
INNER JOIN (SELECT DISTINCT seen, list, kind, value, confidence FROM retro_matches WHERE sweep = {sweep:String} AND source = {source:String} AND first = {first:Date} AND field = 'address') AS m ON m.seen = f.seen

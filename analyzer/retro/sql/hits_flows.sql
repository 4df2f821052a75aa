-- Contacts by raw flows: of the values of one field that matched, with the hosts on the other side.
INSERT INTO retro_hits (sweep, source, part, list, kind, value, field, seen, host, first, last, flows, answered, src_bytes, dst_bytes, ports, confidence, at)
SELECT {sweep:String}, 'flows', {first:Date}, m.list, m.kind, m.value, f.field, f.seen, f.host, f.began, f.ended, f.n, f.a, f.sent, f.received, f.p, m.confidence, now64(3, 'UTC')
FROM
(
    -- several probes may see one flow: that which saw most counts
    SELECT field, seen, host, min(b) AS began, max(e) AS ended, max(n1) AS n, max(a1) AS a, max(s1) AS sent, max(r1) AS received,
           arraySlice(arraySort(groupUniqArrayArray(p1)), 1, 8) AS p
    FROM
    (
        SELECT probe, '/*field*/' AS field, toString(/*column*/) AS seen, /*host*/ AS host, min(start) AS b, max(end) AS e, countIf(segment = 0) AS n1,
               countIf(segment = 0 AND dst_payload_bytes > 0) AS a1, sum(src_bytes) AS s1, sum(dst_bytes) AS r1, groupUniqArray(8)(dst_port) AS p1
        FROM flows /*with*/
        WHERE _partition_id >= {low:String} AND _partition_id <= {high:String}
          AND /*column*/ IN (SELECT /*value*/ FROM retro_matches WHERE sweep = {sweep:String} AND source = 'flows' AND first = {first:Date} AND field = '/*matched*/')
        GROUP BY probe, seen, host
    )
    GROUP BY field, seen, host
) AS f
INNER JOIN (SELECT DISTINCT seen, list, kind, value, confidence FROM retro_matches WHERE sweep = {sweep:String} AND source = 'flows' AND first = {first:Date} AND field = '/*matched*/') AS m ON m.seen = f.seen

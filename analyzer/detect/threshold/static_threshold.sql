-- What is above its limit in [from, to): the average of the whole window, records
-- counted by the share of their time that lies within. The limits are parallel
-- arrays. name, object and site narrow it to one; an empty name means all.
WITH
    limits AS
    (
        SELECT x.1 AS name, x.2 AS of, x.3 AS value, x.4 AS first, x.5 AS last, x.6 AS direction, x.7 AS measure, x.8 AS most
        FROM (SELECT arrayJoin(arrayZip({names:Array(String)}, {ofs:Array(String)}, {values:Array(String)}, {value_first:Array(IPv6)}, {value_last:Array(IPv6)},
            {directions:Array(String)}, {measures:Array(String)}, {mosts:Array(Float64)})) AS x)
        WHERE {name:String} = '' OR name = {name:String}
    ),
    records AS
    (
        SELECT site, probe, interface, src_ip, dst_ip, dst_port, app, start, end, /*flow_id*/ AS id,
            /*share*/ AS share,
            src_bytes, dst_bytes, src_packets, dst_packets, (segment = 0 AND start >= toDateTime({from:UInt32}, 'UTC')) * greatest(1, aggregated_flows) AS begun
        FROM flows
        WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL 5 MINUTE AND start < toDateTime({to:UInt32}, 'UTC') AND end >= toDateTime({from:UInt32}, 'UTC')
          AND ({name:String} = '' OR site = {site:String})
    ),
    summed AS
    (
        SELECT site, probe, name, object, any(unit) AS unit_of, any(top) AS limit_value, sum(part) AS amount, min(start) AS began, max(end) AS ended,
            arrayMap(x -> x.2, groupArraySorted(5)((-toInt64(part), id))) AS ids
        FROM
        (
            SELECT site, probe, start, end, id, l.name AS name, l.measure AS unit, l.most AS top, side.1 AS object,
                multiIf(l.measure = 'bytes', share * side.2, l.measure = 'packets', share * side.3, toFloat64(side.4)) AS part
            FROM records CROSS JOIN limits AS l
            ARRAY JOIN arrayFilter(s -> s.5, [
                -- what the initiator's side gave
                (multiIf(l.of IN ('host'), /*src_text*/, l.value), src_bytes, src_packets, begun,
                 l.direction IN ('out', 'both') AND multiIf(l.of = 'host', if(l.value = '', /*src_inside*/, src_ip = l.first), l.of = 'network', src_ip BETWEEN l.first AND l.last,
                     l.of = 'interface', interface = l.value, l.of = 'port', toString(dst_port) = l.value, app = l.value)),
                (multiIf(l.of IN ('host'), /*dst_text*/, l.value), dst_bytes, dst_packets, toUInt32(0),
                 l.direction IN ('out', 'both') AND multiIf(l.of = 'host', if(l.value = '', /*dst_inside*/, dst_ip = l.first), l.of = 'network', dst_ip BETWEEN l.first AND l.last, false)),
                (multiIf(l.of IN ('host'), /*dst_text*/, l.value), src_bytes, src_packets, begun,
                 l.direction IN ('in', 'both') AND multiIf(l.of = 'host', if(l.value = '', /*dst_inside*/, dst_ip = l.first),
                     l.of = 'network', dst_ip BETWEEN l.first AND l.last AND NOT (l.direction = 'both' AND src_ip BETWEEN l.first AND l.last), false)),
                (multiIf(l.of IN ('host'), /*src_text*/, l.value), dst_bytes, dst_packets, toUInt32(0),
                 l.direction IN ('in', 'both') AND multiIf(l.of = 'host', if(l.value = '', /*src_inside*/, src_ip = l.first),
                     l.of = 'network', src_ip BETWEEN l.first AND l.last AND NOT (l.direction = 'both' AND dst_ip BETWEEN l.first AND l.last),
                     l.of = 'interface', interface = l.value, l.of = 'port', toString(dst_port) = l.value, app = l.value))]) AS side
        )
        GROUP BY site, probe, name, object
    )
SELECT name, site, object, max(amount) / ({to:UInt32} - {from:UInt32}) AS observed, any(limit_value) AS most, argMax(began, (amount, probe)) AS first, argMax(ended, (amount, probe)) AS last,
    argMax(ids, (amount, probe)) AS flow_ids, any(unit_of) AS measure,
    least(1, observed / most / 10 + 0.4) AS excess
FROM summed
WHERE {name:String} = '' OR object = {object:String}
GROUP BY name, site, object
HAVING observed > most
ORDER BY name, site, object
LIMIT 10000

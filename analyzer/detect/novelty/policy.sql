-- Inside hosts, or outside ones that call the inside, whose flows are against one
-- rule, in [from, to). Ends are told by prefixes, names of networks and roles; an
-- end without any of them is anybody. What the rule speaks of ({deny} = 1) is
-- against it, or ({deny} = 0) what its ends do besides.
WITH
    {from_first:Array(IPv6)} AS from_first, {from_last:Array(IPv6)} AS from_last, {to_first:Array(IPv6)} AS to_first, {to_last:Array(IPv6)} AS to_last,
    violations AS
    (
        SELECT site, probe, src_ip, dst_ip, dst_port, protocol, toString(app) AS app, toString(service) AS service, start, end, segment, src_bytes + dst_bytes AS octets, dst_payload_bytes > 0 AS answered,
            toTimeZone(start, {zone:String}) AS clock, toHour(clock) * 60 + toMinute(clock) AS minute, /*flow_id*/ AS id,
            toBool(/*src_inside*/) AS src_in, toBool(/*dst_inside*/) AS dst_in,
            ({from_any:UInt8} = 1 OR arrayExists((a, b) -> src_ip >= a AND src_ip <= b, from_first, from_last) OR has(splitByChar(',', {from_names:String}), concat('=', hex(toString(src_network)))) OR has(splitByChar(',', {from_roles:String}), concat('=', hex(toString(src_role))))
                OR {from_side:String} = 'inside' AND src_in OR {from_side:String} = 'outside' AND NOT src_in) AS from_is,
            ({to_any:UInt8} = 1 OR arrayExists((a, b) -> dst_ip >= a AND dst_ip <= b, to_first, to_last) OR has(splitByChar(',', {to_names:String}), concat('=', hex(toString(dst_network)))) OR has(splitByChar(',', {to_roles:String}), concat('=', hex(toString(dst_role))))
                OR {to_side:String} = 'inside' AND dst_in OR {to_side:String} = 'outside' AND NOT dst_in) AS to_is,
            ({ports_any:UInt8} = 1 OR has({ports:Array(UInt16)}, dst_port)) AND ({apps_any:UInt8} = 1 OR has(splitByChar(',', {apps:String}), concat('=', hex(app))) OR service != '' AND has(splitByChar(',', {apps:String}), concat('=', hex(service)))) AS what_is,
            (if({hour_from:UInt16} <= {hour_to:UInt16}, minute >= {hour_from:UInt16} AND minute < {hour_to:UInt16}, minute >= {hour_from:UInt16} OR minute < {hour_to:UInt16})
                AND has({weekdays:Array(UInt8)}, toDayOfWeek(clock))) AS when_is
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND /*unicast*/ AND NOT initiator_guessed AND app != 'arp' AND from_is AND to_is AND (src_in OR dst_in)
          AND if({deny:UInt8} = 1, what_is AND when_is, NOT (what_is AND when_is))
    ),
    judged AS
    (
        SELECT site, replaceRegexpOne(toString(src_ip), '^::ffff:', '') AS actor, '' AS victim, {rule:String} AS value,
            max(n) AS connections, max(d) AS hosts, max(a) AS answered, max(b) AS bytes, min(f) AS first, max(l) AS last,
            [concat(toString(connections), ' connections with ', toString(hosts), ' hosts: ', max(w)), concat(toString(answered), ' answered, ', formatReadableDecimalSize(bytes))] AS details,
            toFloat64(connections) AS amount, toBool(answered = 0) AS learning,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids,
            least(1, if(learning, 0.3, 0.6) + 0.1 * log10(connections)) AS strength, 1. AS rarity
        FROM
        (
            SELECT site, probe, src_ip, countIf(segment = 0) AS n, uniqExact(dst_ip) AS d, countIf(answered) AS a, sum(octets) AS b, min(start) AS f, max(end) AS l,
                arrayStringConcat(arraySlice(arraySort(groupUniqArray(concat(replaceRegexpOne(toString(dst_ip), '^::ffff:', ''), ' ', toString(dst_port), if(app = '', '', concat(' ', app))))), 1, 4), ', ') AS w,
                groupArraySorted(5)(id) AS i
            FROM violations
            GROUP BY site, probe, src_ip
        )
        GROUP BY site, src_ip
        HAVING connections > 0 AND ({one:UInt8} = 0 OR actor = {actor:String} AND site = {site:String})
    )
SELECT site, actor, victim, value, details, amount, hosts, bytes, learning, first, last, flow_ids, strength, rarity
FROM judged
ORDER BY amount DESC, actor, site
LIMIT {limit:UInt32}

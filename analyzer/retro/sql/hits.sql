SELECT toString(list), toString(kind), value, toString(field), replaceRegexpOne(seen, '^::ffff:', ''), if(host = toIPv6('::'), '', replaceRegexpOne(toString(host), '^::ffff:', '')), first, last,
       flows, answered, src_bytes + dst_bytes, ports, arrayMap(t -> toString(t), arraySort(sources))
FROM retro_contacts
WHERE ({sweep:String} = '' OR sweep = {sweep:String}) AND ({host:String} = '' OR host = toIPv6OrDefault({host:String}))
ORDER BY first, list, kind, value, field, seen, host
LIMIT {limit:UInt32}

-- What a host had to do with a threat list: one row a host and list.
SELECT toString(c.host) AS host, toString(c.list) AS list,
       -- it began, and was answered: 1. It began: .7. Only its certificate, fingerprint or question tells: .7. It was asked, and answered: .5. It was asked: .1
       max(multiIf(field = 'src_ip' AND answered = 0, .1, field = 'src_ip', .5, field IN ('dst_ip', 'tls_sni', 'http_host') AND answered > 0, 1, .7)) AS contact,
       max(if(confidence = 0, 50, confidence)) / 100 AS confidence_said,
       uniqExact(kind, value) AS indicators, sum(flows) AS flows, sum(src_bytes + dst_bytes) AS octets, min(first) AS began, max(last) AS ended,
       arraySort(groupUniqArray(20)(toString(kind))) AS kinds, arraySlice(arraySort(groupUniqArray(1000)(value)), 1, 10) AS listed,
       arraySlice(arraySort(groupUniqArray(1000)(replaceRegexpOne(seen, '^::ffff:', ''))), 1, 10) AS named,
       arraySlice(arraySort(groupUniqArrayIf(100)(flow_id, flow_id != '')), 1, 5) AS flow_ids, arraySort(groupUniqArrayArray(sources)) AS tables
FROM retro_contacts AS c
WHERE ({list:String} = '' OR c.list = {list:String}) AND ({host:String} = '' OR c.host = toIPv6OrDefault({host:String}))
  AND ({sweep:String} = '' OR (c.list, c.host) IN (SELECT list, host FROM retro_hits WHERE sweep = {sweep:String}))
GROUP BY c.host, c.list
ORDER BY contact DESC, octets DESC, host, list

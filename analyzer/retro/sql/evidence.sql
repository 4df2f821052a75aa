-- What a host had to do with a threat list: one row a host and list. An indicator
-- that more than {wide} hosts met is one matter, with a row of its own.
SELECT if(wide, '', toString(c.host)) AS actor, toString(c.list) AS listed_by, if(wide, concat(c.kind, ' ', c.value), '') AS about,
       -- it began, and was answered: 1. It began: .7. Only its certificate, fingerprint or question tells: .7. It was asked, and answered: .5. It was asked: .1
       max(multiIf(field = 'src_ip' AND answered = 0, .1, field = 'src_ip', .5, field IN ('dst_ip', 'tls_sni', 'http_host') AND answered > 0, 1, .7)) AS contact,
       max(if(confidence = 0, 50, confidence)) / 100 AS confidence_said,
       uniqExact(kind, value) AS indicators, uniqExact(c.host) AS hosts, sum(flows) AS connections, sum(src_bytes + dst_bytes) AS octets, min(first) AS began, max(last) AS ended,
       arraySlice(arraySort(groupUniqArray(1000)(c.value)), 1, 10) AS listed,
       arraySlice(arraySort(groupUniqArray(1000)(replaceRegexpOne(seen, '^::ffff:', ''))), 1, 10) AS named
FROM (SELECT *, (list, kind, value) IN (SELECT list, kind, value FROM retro_contacts GROUP BY list, kind, value HAVING uniqExact(host) > {wide:UInt32}) AS wide FROM retro_contacts) AS c
WHERE ({list:String} = '' OR c.list = {list:String})
  AND ({sweep:String} = '' OR if(wide, (c.list, c.kind, c.value) IN (SELECT list, kind, value FROM retro_hits WHERE sweep = {sweep:String}),
                                 (c.list, c.host) IN (SELECT list, host FROM retro_hits WHERE sweep = {sweep:String})))
GROUP BY actor, listed_by, about
HAVING {sweep:String} != '' OR actor = {host:String} AND about = {about:String}
ORDER BY contact DESC, octets DESC, actor, listed_by, about

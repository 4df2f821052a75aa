-- Which name had which address: by answers of DNS, by what TLS and HTTP clients
-- asked it for. A flow with queries for several names does not tell which of its
-- answers belong to which, and is passed over.
INSERT INTO names_1h_builds
    (bucket, build, probe, site, source, name, address, records, clients, first, last, received)
SELECT toStartOfHour(start) AS bucket, @build AS build, probe, site, pair.1 AS source, pair.2 AS name, pair.3 AS address,
       count(), uniqCombinedState(12)(src_ip), min(start), max(end), toDateTime(max(flows.received))
FROM
(
    SELECT start, end, probe, site, src_ip, received,
           lower(replaceRegexpOne(http_host, ':[0-9]*$', '')) AS host,
           if(length(arrayDistinct(arrayMap(n -> lower(n), dns_names))) = 1, lower(dns_names[1]), '') AS query,
           splitByChar('.', query) AS labels,
           multiIf(query LIKE '%.in-addr.arpa' AND length(labels) = 6,
                       toIPv6OrDefault(concat(labels[4], '.', labels[3], '.', labels[2], '.', labels[1])),
                   query LIKE '%.ip6.arpa' AND length(labels) = 34,
                       toIPv6OrDefault(arrayStringConcat(arrayMap((l, i) -> if(i % 4 = 0 AND i < 32, concat(l, ':'), l), arrayReverse(arraySlice(labels, 1, 32)), range(1, 33)))),
                   toIPv6('::')) AS reversed,
           arrayDistinct(arrayFilter(p -> p.2 != '' AND p.3 != toIPv6('::'), arrayConcat(
               [('sni', lower(tls_sni), dst_ip)],
               [('http', if(isNull(toIPv6OrNull(host)) AND NOT startsWith(host, '['), host, ''), dst_ip)],
               if(reversed = toIPv6('::'),
                  arrayMap(a -> ('dns', query, toIPv6OrDefault(a)), if(query = '', [], dns_answers)),
                  arrayMap(a -> ('ptr', lower(a), reversed), dns_answers))))) AS pairs
    FROM flows
    WHERE /*rows*/ AND (tls_sni != '' OR http_host != '' OR notEmpty(dns_answers))
) AS flows
ARRAY JOIN pairs AS pair
GROUP BY bucket, probe, site, source, name, address

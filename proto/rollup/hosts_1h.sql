-- What each host did: a row for what it began and one for what it was asked.
INSERT INTO hosts_1h_builds
    (bucket, build, probe, site, host, role, primary_observer, flows, segments, failed, sent_packets, received_packets, sent_bytes, received_bytes,
     sent_payload_bytes, received_payload_bytes, app_errors, dns_queries, dns_failed, peers, failed_peers, ports, failed_ports, names, apps, first, last, received)
SELECT toStartOfHour(start) AS bucket, @build AS build, probe, site, src_ip AS host, 'initiator' AS role, /*primary*/ AS primary_observer,
       countIf(segment = 0), count(), countIf(segment = 0 AND dst_payload_bytes = 0), sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes),
       sum(src_payload_bytes), sum(dst_payload_bytes), sum(app_errors), sum(length(dns_names)), sum(arrayCount(c -> c NOT IN (0, 65535), dns_rcodes)),
       uniqCombinedState(14)(dst_ip), uniqCombinedStateIf(14)(dst_ip, segment = 0 AND dst_payload_bytes = 0),
       uniqCombinedState(14)(bitOr(bitShiftLeft(toUInt32(protocol), 16), toUInt32(dst_port))),
       uniqCombinedStateIf(14)(bitOr(bitShiftLeft(toUInt32(protocol), 16), toUInt32(dst_port)), segment = 0 AND dst_payload_bytes = 0),
       uniqCombinedStateIf(14)(lower(tls_sni), tls_sni != ''),
       arraySort(groupUniqArrayIf(64)(toString(app), app != '')), min(start), max(end), toDateTime(max(received))
FROM flows
WHERE /*rows*/
GROUP BY bucket, probe, site, host, primary_observer
UNION ALL
SELECT toStartOfHour(start) AS bucket, @build AS build, probe, site, dst_ip AS host, 'responder' AS role, /*primary*/ AS primary_observer,
       countIf(segment = 0), count(), countIf(segment = 0 AND dst_payload_bytes = 0), sum(dst_packets), sum(src_packets), sum(dst_bytes), sum(src_bytes),
       sum(dst_payload_bytes), sum(src_payload_bytes), sum(app_errors), sum(length(dns_names)), sum(arrayCount(c -> c NOT IN (0, 65535), dns_rcodes)),
       uniqCombinedState(14)(src_ip), uniqCombinedStateIf(14)(src_ip, segment = 0 AND dst_payload_bytes = 0),
       uniqCombinedState(14)(bitOr(bitShiftLeft(toUInt32(protocol), 16), toUInt32(dst_port))),
       uniqCombinedStateIf(14)(bitOr(bitShiftLeft(toUInt32(protocol), 16), toUInt32(dst_port)), segment = 0 AND dst_payload_bytes = 0),
       uniqCombinedStateIf(14)(lower(tls_sni), tls_sni != ''),
       arraySort(groupUniqArrayIf(64)(toString(app), app != '')), min(start), max(end), toDateTime(max(received))
FROM flows
WHERE /*rows*/
GROUP BY bucket, probe, site, host, primary_observer

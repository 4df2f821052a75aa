-- When and with how many octets each client called each name, address and port:
-- answered connections, and of each key the first 720 of the hour, which is one
-- every 5 s.
INSERT INTO beacons_1h_builds
    (bucket, build, probe, site, src_ip, dst_ip, dst_port, protocol, name, ja4, app, primary_observer,
     connections, src_bytes, dst_bytes, times, sizes, first, last, received)
SELECT bucket, build, probe, site, src_ip, dst_ip, dst_port, protocol, name, ja4, app, primary_observer,
       connections, src_octets, dst_octets, calls.1, calls.2, first, last, received
FROM
(
    SELECT toStartOfHour(start) AS bucket, @build AS build, probe, site, src_ip, dst_ip, dst_port, protocol,
           lower(if(tls_sni != '', tls_sni, replaceRegexpOne(http_host, ':[0-9]*$', ''))) AS name, ja4, app, /*primary*/ AS primary_observer,
           count() AS connections, sum(src_bytes) AS src_octets, sum(dst_bytes) AS dst_octets,
           groupArraySorted(720)((toUnixTimestamp(start), toUInt32(least(src_bytes, 4294967295)))) AS calls,
           min(start) AS first, max(end) AS last, toDateTime(max(flows.received)) AS received
    FROM flows
    WHERE /*rows*/ AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
      AND protocol IN (6, 17, 132) AND dst_port NOT IN (53, 67, 68, 123, 853, 5353)
    GROUP BY bucket, probe, site, src_ip, dst_ip, dst_port, protocol, name, ja4, app, primary_observer
)

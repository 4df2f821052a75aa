-- Services that answer in a protocol nobody recognised, in [from, to): one row for a
-- server and port, or with keys one for all of those. Several probes may see one flow.
SELECT if(empty({keys:Array(UInt64)}), key, 0) AS cluster, any(site) AS site, any(server) AS server, any(port) AS port, any(protocol) AS protocol,
    count() AS services, sum(clients) AS clients, sum(n) AS connections, sum(octets) AS bytes, min(f) AS first, max(l) AS last,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(ids)))), 1, 5) AS flow_ids, min(client) AS client, max(outside) AS outside,
    any(sizes) AS sizes, any(entropy) AS entropy, any(printable) AS printable,
    least(1, log10(1 + connections) / 3) AS volume, least(1, log10(1 + clients) / 2) AS spread
FROM
(
    SELECT site, dst_ip, dst_port, protocol, cityHash64(site, dst_ip, dst_port, protocol) AS key, /*dst_text*/ AS server, dst_port AS port,
        max(c) AS clients, max(m) AS n, max(b) AS octets, min(s) AS f, max(e) AS l, arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS ids,
        min(w) AS client, max(o) AS outside, argMax(z, (m, probe)) AS sizes, argMax(h, (m, probe)) AS entropy, argMax(p, (m, probe)) AS printable
    FROM
    (
        SELECT site, probe, dst_ip, dst_port, protocol, uniqExact(src_ip) AS c, count() AS m, sum(src_bytes + dst_bytes) AS b, min(start) AS s, max(end) AS e,
            groupArraySorted(5)(/*flow_id*/) AS i, min(/*src_text*/) AS w, max(/*src_inside*/ != /*dst_inside*/) AS o,
            [quantileExact(0.5)(first_sizes[1]), quantileExact(0.5)(first_sizes[2]), quantileExact(0.5)(first_sizes[3]), quantileExact(0.5)(first_sizes[4])] AS z,
            quantileExact(0.5)(payload_entropy) AS h, quantileExact(0.5)(payload_printable) AS p
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND NOT initiator_guessed AND /*unrecognised*/ AND protocol IN (6, 17, 132)
          AND src_payload_bytes > 0 AND dst_payload_bytes > 0 AND length(first_sizes) >= 2 AND (/*src_inside*/ OR /*dst_inside*/) AND /*unicast*/
          AND src_role NOT IN ('scanner', 'monitor', 'lab') AND NOT /*exempt*/
          AND (empty({keys:Array(UInt64)}) OR has({keys:Array(UInt64)}, cityHash64(site, dst_ip, dst_port, protocol)))
        GROUP BY site, probe, dst_ip, dst_port, protocol
    )
    GROUP BY site, dst_ip, dst_port, protocol
)
GROUP BY cluster
ORDER BY connections DESC, cluster
LIMIT 20000

-- A day of flows: each is a template of its class, with addresses, ports, names,
-- programs, times and sizes of its own, all from hashes of (seed, day, number).
-- Hosts and names are Zipf with exponent 1 (rank = N to the power of u); a host
-- asks for 40 names of its own in seven of ten cases.
INSERT INTO {into} ({columns})
WITH
    (SELECT p FROM programs) AS programs,
    toUInt64({day:UInt32}) * 86400000000 AS midnight, -- microseconds
    h4 % 256 AS jitter,
    -- Counters move by up to a third either way, times by up to half.
    (171 + jitter * 2 / 3) / 256 AS sized,
    (128 + h5 % 256) / 256 AS timed,
    moved % 2 = 1 AND src_payload_bytes + dst_payload_bytes > 0 AS other_size,
    toUInt64(if(other_size, t.src_payload_bytes * sized, t.src_payload_bytes)) AS payload_s,
    toUInt64(if(other_size, t.dst_payload_bytes * sized, t.dst_payload_bytes)) AS payload_d,
    class IN ('tls', 'quic', 'http', 'dns', 'rest', 'ssh') AS outward,
    class = 'silent' AND h3 % 2 = 1 AS inward,
    outward AND class != 'dns' AS named,
    six AND class IN ('tls', 'quic') AS v6,
    toIPv6(concat('::ffff:', IPv4NumToString(toUInt32(169082880 + intDiv(place, 250) * 256 + place % 250 + 2)))) AS client4,
    toIPv6(concat('2001:db8:10:', lower(hex(toUInt16(intDiv(place, 250)))), '::', lower(hex(toUInt16(cityHash64(place)))), ':', lower(hex(toUInt16(place))))) AS client6,
    toIPv6(concat('::ffff:10.10.', toString(toUInt8(cityHash64(rank) % 4)), '.', toString(toUInt8(10 + pow(60, (h5 % 65536) / 65536))))) AS inside,
    toIPv6(concat('::ffff:', IPv4NumToString(toUInt32(cityHash64(toUInt32(pow(400000, (h6 % 65536) / 65536))) % 3000000000 + 100000000)))) AS outside,
    dictGet('pool_of', 'name', rank) AS name,
    if(h6 % 3 = 0, dictGet('pool_of', 'b4', rank), dictGet('pool_of', 'a4', rank)) AS server4,
    dictGet('pool_of', 'a6', rank) AS server6,
    cityHash64(place, program) AS software,
    programs[toUInt32(pow(length(programs) + 1, (software % 65536) / 65536))] AS known,
    -- One program in sixteen is nobody else's.
    software % 16 = 3 AS rare,
    started + toInt64(t.duration * timed) AS ended
SELECT
    concat('probe-', toString(intDiv(place, 250) % 4)) AS probe, 'hq' AS site,
    cityHash64(probe, intDiv({day:UInt32}, 30)) AS epoch, toUInt16(place % 2) AS worker,
    toUInt64(intDiv(ended, 1000000)) - 1700000000 AS seq, toUInt32(ended % 1000000 * {rate:UInt32} / 1000000) AS row,
    toInt32(intDiv(place, 250) % 4) AS kafka_partition, toInt64(seq) AS kafka_offset,
    toDateTime64(intDiv(ended, 1000000) + 1 + (ended % 1000) / 1000, 3, 'UTC') AS received,
    t.* EXCEPT (tid, class, duration, share, h1, h2, h3, h4, h5, h6, place, six, program, rank, moved, started, copy)
    REPLACE (
        concat('eth', toString(place % 2)) AS interface,
        toUInt16(if(t.vlan = 0, 0, 100 + intDiv(place, 250))) AS vlan,
        if(t.src_mac = 0, 0, bitOr(bitAnd(t.src_mac, 0xffffff000000), place * 7)) AS src_mac,
        if(t.dst_mac = 0, 0, 20015998341120 + intDiv(place, 250)) AS dst_mac,
        multiIf(t.ethertype != 0, t.src_ip, inward, outside, v6, client6, client4) AS src_ip,
        multiIf(t.ethertype != 0 OR class = 'local', t.dst_ip, inward, client4, class = 'dns' OR NOT outward, inside, v6, server6, server4) AS dst_ip,
        if(t.src_port >= 1024, toUInt16(32768 + h5 % 28000), t.src_port) AS src_port,
        fromUnixTimestamp64Nano(started * 1000, 'UTC') AS start,
        fromUnixTimestamp64Nano(ended * 1000, 'UTC') AS end,
        toUInt64(intDiv(started, 1000) * {rate:UInt32} / 1000 + h6 % 50) AS flow_id,
        payload_s AS src_payload_bytes, payload_d AS dst_payload_bytes,
        t.src_bytes + payload_s - t.src_payload_bytes AS src_bytes, t.dst_bytes + payload_d - t.dst_payload_bytes AS dst_bytes,
        t.src_frame_bytes + payload_s - t.src_payload_bytes AS src_frame_bytes, t.dst_frame_bytes + payload_d - t.dst_payload_bytes AS dst_frame_bytes,
        toUInt32(t.dst_rtt_us * timed) AS dst_rtt_us, toUInt32(t.src_rtt_us * timed) AS src_rtt_us, toUInt32(t.response_us * timed) AS response_us,
        toUInt32(t.dns_latency_us * timed) AS dns_latency_us, toUInt32(t.tls_handshake_us * timed) AS tls_handshake_us,
        if(empty(t.tls_sni), '', name) AS tls_sni,
        multiIf(empty(t.ja3), '', rare, lower(hex(MD5(toString(software)))), known.1) AS ja3,
        multiIf(empty(t.ja4), '', rare, concat(substring(known.2, 1, 11), substring(lower(hex(software)), 1, 12), substring(known.2, 24)), known.2) AS ja4,
        if(empty(t.http_host), '', name) AS http_host,
        if(empty(t.http_uri) OR h6 % 4 = 0, t.http_uri, concat(t.http_uri, '?v=', lower(hex(toUInt32(h6))))) AS http_uri,
        if(h6 % 4 = 0, t.http_requests, arrayMap(x -> concat(x, '?v=', lower(hex(toUInt32(h6)))), t.http_requests)) AS http_requests,
        arrayMap(x -> toUInt32(x * timed), t.http_latencies_us) AS http_latencies_us,
        if(class = 'dns', arrayMap((x, k) -> if(k <= 2, name, x), t.dns_names, arrayEnumerate(t.dns_names)), t.dns_names) AS dns_names,
        if(class = 'dns', arrayMap((x, k) -> if(match(x, '^[0-9.]+$'), replaceOne(toString(if(k % 2 = 0, dictGet('pool_of', 'a4', rank), dictGet('pool_of', 'b4', rank))), '::ffff:', ''), x), t.dns_answers, arrayEnumerate(t.dns_answers)), t.dns_answers) AS dns_answers,
        arrayMap(x -> toUInt32(x * timed), t.dns_latencies_us) AS dns_latencies_us,
        if(class IN ('ssh') AND rare, lower(hex(MD5(toString(software)))), t.hassh) AS hassh,
        -- Symmetric like the real one, and of the same entropy, without SHA-1.
        cityHash64(least(src_ip, dst_ip), greatest(src_ip, dst_ip), least(src_port, dst_port), greatest(src_port, dst_port), t.protocol) AS community_hash,
        toUInt32(t.src_iat_min_us * timed) AS src_iat_min_us, toUInt32(t.dst_iat_min_us * timed) AS dst_iat_min_us,
        toUInt32(t.src_iat_max_us * timed) AS src_iat_max_us, toUInt32(t.dst_iat_max_us * timed) AS dst_iat_max_us,
        toUInt32(t.src_iat_mean_us * timed) AS src_iat_mean_us, toUInt32(t.dst_iat_mean_us * timed) AS dst_iat_mean_us,
        toUInt32(t.src_iat_std_us * timed) AS src_iat_std_us, toUInt32(t.dst_iat_std_us * timed) AS dst_iat_std_us,
        toFloat32(if(other_size, t.src_size_std * sized, t.src_size_std)) AS src_size_std, toFloat32(if(other_size, t.dst_size_std * sized, t.dst_size_std)) AS dst_size_std,
        if(other_size, arrayMap(x -> toInt32(x * sized), t.first_sizes), t.first_sizes) AS first_sizes,
        arrayMap((x, k) -> toUInt32(x * (128 + cityHash64(h6, k) % 256) / 256), t.first_gaps_us, arrayEnumerate(t.first_gaps_us)) AS first_gaps_us,
        toUInt32(t.transaction_min_us * timed) AS transaction_min_us, toUInt32(t.transaction_mean_us * timed) AS transaction_mean_us, toUInt32(t.transaction_max_us * timed) AS transaction_max_us,
        toFloat32(if(t.payload_entropy = 0, 0, round(t.payload_entropy * (240 + jitter / 8) / 256, 3))) AS payload_entropy,
        if(empty(t.user), '', concat('user', toString(place))) AS user,
        if(empty(t.tls_cert_sha256), '', dictGet('pool_of', 'cert', rank)) AS tls_cert_sha256,
        if(empty(t.tls_cert_subject), '', concat('CN=', name)) AS tls_cert_subject,
        if(empty(t.tls_cert_names), [], [name]) AS tls_cert_names
    )
FROM
(
    SELECT
        *,
        cityHash64({seed:UInt64}, {day:UInt32}, tid, copy) AS h1, cityHash64(h1, 1) AS h2, cityHash64(h1, 2) AS h3, cityHash64(h1, 3) AS h4, cityHash64(h1, 4) AS h5, cityHash64(h1, 5) AS h6,
        -- Clients: rank to place in the network, one to one.
        toUInt32(toUInt32(pow({hosts:UInt32}, (bitAnd(h3, 0xffffffff)) / 4294967296)) * 7919 % {hosts:UInt32}) AS place,
        place % 16 = 5 AS six,
        toUInt32(4 * pow((bitShiftRight(h2, 32) % 65536) / 65536, 3)) AS program,
        toUInt64(pow({names:UInt64}, if(h4 % 10 < 7, (cityHash64(place, toUInt32(40 * pow((bitShiftRight(h3, 32) % 65536) / 65536, 2))) % 4294967296) / 4294967296, bitShiftRight(h4, 32) / 4294967296))) AS rank,
        bitShiftRight(h1, 32) AS moved,
        -- A third around the clock, the rest in the working day.
        toInt64(midnight + if(h6 % 3 = 0, bitShiftRight(h5, 16) % 86400000000, 25200000000 + bitShiftRight(h5, 16) % 21600000000 + bitShiftRight(h6, 16) % 21600000000)) AS started
    FROM templates AS t
    ARRAY JOIN range(toUInt32({rows:UInt64} * share + cityHash64({day:UInt32}, tid) % 65536 / 65536)) AS copy
) AS t

-- Servers whose certificate, version or cipher is a risk, in [from, to): one row for a
-- server and a certificate. Several probes may see one connection.
WITH
    toDateTime({from:UInt32}, 'UTC') AS window_start,
    toDateTime({to:UInt32}, 'UTC') AS window_end,
    met AS
    (
        SELECT site, dst_ip, dst_port, certificate, max(outside) AS outside, max(clients) AS clients, max(connections) AS connections, max(octets) AS bytes,
            min(client) AS client, max(names) AS names, any(subject) AS subject, any(issuer) AS issuer, max(not_before) AS not_before, max(not_after) AS not_after,
            max(self_signed) AS self_signed, max(obsolete) AS obsolete, max(weak) AS weak, max(expired) AS expired, max(mismatch) AS mismatch, max(nameless) AS nameless,
            min(version) AS version, max(cipher) AS cipher, max(versions_known) AS versions_known, min(f) AS first, max(l) AS last,
            arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids, any(fingerprints) AS fingerprints
        FROM
        (
            SELECT site, probe, dst_ip, dst_port, tls_cert_sha256 AS certificate, toBool(max(NOT /*dst_inside*/)) AS outside, uniqExact(src_ip) AS clients, count() AS connections,
                sum(src_bytes + dst_bytes) AS octets, min(/*src_text*/) AS client,
                arrayStringConcat(arraySlice(arraySort(groupUniqArrayIf(tls_sni, tls_sni != '')), 1, 3), ', ') AS names,
                max(tls_cert_subject) AS subject, max(tls_cert_issuer) AS issuer, max(tls_cert_not_before) AS not_before, max(tls_cert_not_after) AS not_after,
                max(bitTest(risks, 6)) AS self_signed, max(bitTest(risks, 7)) AS obsolete, max(bitTest(risks, 8)) AS weak, max(bitTest(risks, 9)) AS expired, max(bitTest(risks, 10) AND NOT match(tls_sni, '^[0-9.]+$|:')) AS mismatch,
                min(tls_sni = '') AS nameless, minIf(tls_version, bitTest(risks, 7)) AS version, maxIf(tls_cipher, bitTest(risks, 8)) AS cipher, max(tls_cipher != 0) AS versions_known,
                arrayStringConcat(arraySlice(arraySort(groupUniqArrayIf(toString(ja4), ja4 != '')), 1, 3), ', ') AS fingerprints,
                min(start) AS f, max(end) AS l, groupArraySorted(5)(/*flow_id*/) AS i
            FROM flows
            WHERE start >= window_start AND start < window_end AND segment = 0 AND (tls_cert_sha256 != '' OR tls_cipher != 0) AND dst_payload_bytes > 0 AND /*src_inside*/
              AND src_role NOT IN ('scanner', 'monitor', 'lab') AND dst_role NOT IN ('lab') AND NOT /*exempt*/
              AND (bitAnd(risks, 1984) != 0 OR tls_cert_not_before > 0 AND toUnixTimestamp(start) < tls_cert_not_before + 86400 * {young_days:UInt32}
                   OR tls_cert_not_after > tls_cert_not_before + 86400 * {long_days:UInt32})
              AND NOT arrayExists(x -> x != '' AND positionCaseInsensitive(tls_cert_issuer, x) > 0, arrayMap(x -> unhex(x), splitByChar(',', {internal:String})))
            GROUP BY site, probe, dst_ip, dst_port, certificate
        )
        GROUP BY site, dst_ip, dst_port, certificate
    ),
    seen AS
    (
        SELECT site, value, min(first) AS since
        FROM first_seen
        WHERE kind = 'certificate' AND value IN (SELECT certificate FROM met)
        GROUP BY site, value
    ),
    -- since when certificates of the site are known at all
    known AS (SELECT site, min(first) AS begin FROM first_seen WHERE kind = 'certificate' GROUP BY site)
SELECT m.site AS site, replaceRegexpOne(toString(dst_ip), '^::ffff:', '') AS server, dst_port AS port, certificate, outside, clients, connections, bytes, client, names, subject, issuer,
    self_signed, obsolete, weak, expired, mismatch, nameless, version, cipher, fingerprints, first, last, flow_ids,
    not_before > 0 AND toUnixTimestamp(first) < not_before + 86400 * {young_days:UInt32} AS young,
    not_after > not_before + 86400 * {long_days:UInt32} AS lasting,
    toFloat64(not_before = 0 ? 0 : (toUnixTimestamp(first) - not_before) / 86400.) AS age_days, toFloat64(not_before = 0 ? 0 : (not_after - not_before) / 86400.) AS valid_days,
    certificate != '' AND s.value != '' AND s.since + INTERVAL {history_days:UInt32} DAY < m.first AS established,
    certificate != '' AND s.value != '' AND s.since + INTERVAL 7 DAY > m.first AND k.begin + INTERVAL {history_days:UInt32} DAY < m.first AS fresh,
    self_signed * 0.3 + (mismatch + expired) * 0.15 + (young + lasting + nameless + fresh) * 0.1 + (obsolete + weak) * 0.1 AS fault,
    1. / clients AS rarity
FROM met AS m
LEFT JOIN seen AS s ON s.site = m.site AND s.value = m.certificate
LEFT JOIN known AS k ON k.site = m.site
WHERE ({one:UInt8} = 0 OR server = {server:String} AND port = {port:UInt16} AND certificate = {certificate:String} AND site = {site:String})
ORDER BY server, port, certificate, site
LIMIT 5000

-- Web services on which one source keeps many connections open that hardly carry
-- anything, in [from, to): open for longer than min_seconds, below max_rate octets
-- of payload a minute in either direction, with the answer never begun or hardly
-- taken. src, dst, port and site narrow it to one; an empty src means all.
WITH
    connections AS
    (
        SELECT site, probe, src_ip, dst_ip, dst_port, epoch, worker, flow_id, min(toUnixTimestamp64Milli(start)) / 1000 AS first, max(toUnixTimestamp64Milli(end)) / 1000 AS last,
            sum(src_payload_bytes) AS sent, sum(dst_payload_bytes) AS got, any(/*flow_id*/) AS id, max(dst_zero_windows + src_zero_windows) AS closed
        FROM flows
        WHERE start >= toDateTime({from:UInt32}, 'UTC') - INTERVAL {min_seconds:UInt32} SECOND AND start < toDateTime({to:UInt32}, 'UTC')
          AND ({src:String} = '' OR src_ip = toIPv6OrDefault({src:String}) AND dst_ip = toIPv6OrDefault({dst:String}) AND dst_port = {port:UInt16} AND site = {site:String})
          AND protocol = 6 AND NOT initiator_guessed AND aggregated_flows = 0 AND (dst_port IN (80, 443, 8000, 8008, 8080, 8443, 8888) OR app IN ('http', 'tls', 'http2'))
          AND src_role NOT IN ('nat', 'proxy', 'monitor', 'scanner', 'gateway') AND NOT /*exempt*/
        GROUP BY site, probe, src_ip, dst_ip, dst_port, epoch, worker, flow_id
    ),
    slow AS
    (
        SELECT *, (last - first) / 60 AS took
        FROM connections
        WHERE last - first >= {min_seconds:UInt32} AND sent / took < {max_rate:Float64} AND got / took < {max_rate:Float64} AND last >= {from:UInt32}
    )
SELECT site, /*src_text*/ AS src, /*dst_text*/ AS dst, dst_port AS port, toUInt64(max(n)) AS open_at_once, toUInt64(argMax(slow_n, (n, probe))) AS slow_connections, argMax(silent, (n, probe)) AS unanswered,
    argMax(mean, (n, probe)) AS mean_rate, toDateTime64(min(begin), 3, 'UTC') AS first_seen_at, toDateTime64(max(finish), 3, 'UTC') AS last_seen_at, argMax(ids, (n, probe)) AS flow_ids, any(inside) AS dst_is_inside,
    least(1, 0.5 + 0.25 * log10(open_at_once / {min_connections:UInt32})) AS breadth,
    1 - mean_rate / {max_rate:Float64} / 2 AS slowness,
    unanswered AS silence
FROM
(
    SELECT site, probe, src_ip, dst_ip, dst_port, maxIntersections(first, last) AS n, count() AS slow_n, countIf(got = 0) / slow_n AS silent, avg(greatest(sent, got) / took) AS mean,
        min(first) AS begin, max(last) AS finish, groupArraySorted(5)(id) AS ids, /*dst_inside*/ AS inside
    FROM slow
    GROUP BY site, probe, src_ip, dst_ip, dst_port
)
GROUP BY site, src_ip, dst_ip, dst_port
HAVING open_at_once >= {min_connections:UInt32}
ORDER BY open_at_once DESC, src, dst, port, site
LIMIT 1000

-- Windows in which, the hour before included, two sources sweep the same port.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT w, site, protocol, dst_port
    FROM
    (
        SELECT arrayJoin(range(greatest(intDiv(toInt64(toUnixTimestamp(start)), {step:Int64}) - {overlap:Int64} + 1, intDiv(toInt64(toUnixTimestamp({from:DateTime('UTC')})), {step:Int64})),
            least(intDiv(toInt64(toUnixTimestamp(start)) + 3600, {step:Int64}), intDiv(toInt64(toUnixTimestamp({to:DateTime('UTC')})), {step:Int64}) - {overlap:Int64}) + 1)) * {step:Int64} AS w,
            site, src_ip, protocol, dst_port
        FROM flows
        WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 HOUR AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND /*failed*/ AND /*unicast*/ AND /*purposeful*/
          AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
        GROUP BY w, site, src_ip, protocol, dst_port
        HAVING uniqExact(dst_ip) >= {min_hosts:UInt32}
    )
    GROUP BY w, site, protocol, dst_port
    HAVING count() >= 2
)
ORDER BY 1

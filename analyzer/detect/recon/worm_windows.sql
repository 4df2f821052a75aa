-- Windows in which, the hour before included, two sources sweep the same port.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT w, site, protocol, dst_port
    FROM
    (
        SELECT (intDiv(toUnixTimestamp(start), {step:Int64}) + intDiv(3600, {step:Int64}) - arrayJoin(range({overlap:UInt32} + intDiv(3600, {step:Int64})))) * {step:Int64} AS w,
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

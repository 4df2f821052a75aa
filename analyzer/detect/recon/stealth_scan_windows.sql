-- Windows in which an inside source missed enough hosts.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND /*src_inside*/ AND /*failed*/ AND /*unicast*/ AND /*purposeful*/
      AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
    GROUP BY w, site, src_ip
    HAVING uniqExact(dst_ip) >= {min_hosts:UInt32}
)
ORDER BY 1

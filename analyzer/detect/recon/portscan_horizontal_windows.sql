-- Windows in which a source may reach the threshold.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND /*failed*/ AND /*unicast*/ AND /*purposeful*/
      AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
    GROUP BY w, site, src_ip, protocol, dst_port
    HAVING uniqExact(dst_ip) >= {min_hosts:UInt32}
)
ORDER BY 1

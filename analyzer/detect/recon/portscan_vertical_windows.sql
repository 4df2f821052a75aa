-- Windows in which a pair may reach the threshold.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND /*failed*/ AND /*unicast*/ AND /*purposeful*/
    GROUP BY w, site, src_ip, dst_ip
    HAVING uniqExact(dst_port) >= {min_ports:UInt32}
)
ORDER BY 1

-- Windows in which a source inside may reach the threshold.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window_of_hour*/ AS w
    FROM flows_1h
    WHERE hour >= {from:DateTime('UTC')} AND hour < {to:DateTime('UTC')} AND failed > 0 AND protocol IN (6, 17, 132) AND /*src_inside*/ AND /*unicast*/
      AND NOT (dst_port = 53 OR protocol = 17 AND dst_port = 123)
    GROUP BY w, site, src_ip
    HAVING uniqExact((dst_ip, protocol, dst_port)) >= {min_targets:UInt32}
)
ORDER BY 1

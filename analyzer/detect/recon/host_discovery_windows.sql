-- Windows in which a source may reach a threshold.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND NOT initiator_guessed AND src_role NOT IN ('scanner', 'monitor', 'gateway') AND /*unicast*/
      AND (ethertype = 2054 AND src_port = 1 OR protocol = 1 AND src_port IN (8, 13, 15, 17) OR protocol = 58 AND src_port = 128)
    GROUP BY w, site, src_ip
    HAVING uniqExactIf(dst_ip, ethertype != 2054 AND dst_packets = 0) >= {min_minute:UInt32} OR uniqExact(dst_ip) >= {min_hosts:UInt32}
)
ORDER BY 1

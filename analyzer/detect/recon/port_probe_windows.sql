-- Windows in which a pair may reach the threshold.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol = 6 AND segment = 0 AND NOT initiator_guessed
      AND (/*failed*/ OR src_payload_bytes = 0) AND /*unicast*/
    GROUP BY w, site, src_ip, dst_ip
    HAVING uniqExact(dst_port) >= {min_ports:UInt32}
)
ORDER BY 1

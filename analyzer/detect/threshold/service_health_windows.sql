-- Hours in which some service had enough connections to be judged.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
      AND protocol = 6 AND NOT initiator_guessed AND segment = 0 AND aggregated_flows = 0
    GROUP BY w, site, dst_ip, dst_port
    HAVING count() >= {min_connections:UInt32}
)
ORDER BY 1

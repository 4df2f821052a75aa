-- Windows in which a source may keep enough connections open: it has as many
-- that last for half a minute.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol = 6 AND NOT initiator_guessed
      AND (dst_port IN (80, 443, 8000, 8008, 8080, 8443, 8888) OR app IN ('http', 'tls', 'http2'))
    GROUP BY w, site, src_ip, dst_ip, dst_port
    HAVING uniqExact(probe, epoch, worker, flow_id) >= {min_connections:UInt32} AND max(end) - min(start) >= 30
)
ORDER BY 1

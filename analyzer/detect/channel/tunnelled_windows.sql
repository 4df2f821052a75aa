-- Windows with a connection to outside that is no application's own.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND protocol IN (6, 17, 132) AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
      AND src_packets + dst_packets >= 16 AND (/*unrecognised*/ OR bitTest(risks, 5) OR dst_port = 443 AND protocol = 6 AND app NOT IN ('tls', 'http', 'quic'))
)
ORDER BY 1

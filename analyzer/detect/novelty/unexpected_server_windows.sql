-- Windows in which a host answers for the first time in the span as a DHCP, DNS, NTP
-- or mail server of the inside: from the next window on it is a known one.
SELECT DISTINCT toInt64(min(w)) AS at
FROM
(
    SELECT /*window*/ AS w, site, toString(app) AS kind, if(app = 'dhcp' AND dst_port = 68, src_ip, dst_ip) AS server
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND app IN ('dhcp', 'dns', 'ntp', 'smtp') AND (/*dst_inside*/ AND dst_payload_bytes > 0 OR app = 'dhcp')
)
GROUP BY site, kind, server
ORDER BY at

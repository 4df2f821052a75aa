-- Windows with answers of DHCP, DNS, NTP or mail servers of the inside.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND app IN ('dhcp', 'dns', 'ntp', 'smtp') AND (/*dst_inside*/ AND dst_payload_bytes > 0 OR app = 'dhcp')
)
ORDER BY 1

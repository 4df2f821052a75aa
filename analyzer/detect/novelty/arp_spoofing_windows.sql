-- Windows with answers of ARP that nobody asked for.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND app = 'arp' AND src_packets = 0 AND dst_packets > 0
)
ORDER BY 1

-- Windows in which some pair has gaps that are concentrated enough.
SELECT DISTINCT w
FROM
(
    SELECT w, arrayFilter(x -> x >= 1, arrayDifference(arraySort(groupArray(100000)(at)))) AS gaps, arrayReduce('medianExact', gaps) AS median
    FROM
    (
        SELECT /*window*/ AS w, site, src_ip, lower(tls_sni) AS name, if(name = '', dst_ip, toIPv6('::')) AS target, dst_port, protocol, toInt64(toUnixTimestamp(start)) AS at
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}
          AND protocol IN (6, 17, 132) AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
          AND /*unicast*/ AND dst_port NOT IN (53, 67, 68, 123, 853, 5353) AND /*src_inside*/ AND NOT /*dst_inside*/
    )
    GROUP BY w, site, src_ip, name, target, dst_port, protocol
    HAVING count() >= 4 AND notEmpty(gaps)
       AND arrayCount(x -> x BETWEEN 0.65 * median AND 1.35 * median, gaps) / length(gaps) >= least(0.9, greatest({min_concentration:Float64}, 0.245 + 5 * sqrt(0.185 / length(gaps))))
)
ORDER BY w

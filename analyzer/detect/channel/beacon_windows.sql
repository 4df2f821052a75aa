-- Quarters of an hour with a pair whose calls of the 1 or 2 hours before their end look
-- regular; and the last of each hour in which anybody called, which looks back farther.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT w
    FROM
    (
        SELECT w, arrayFilter(x -> x >= 1000, differences) AS g1, arrayFilter(x -> x >= 10000, differences) AS g10, arrayReduce('medianExact', g1) AS m1, arrayReduce('medianExact', g10) AS m10
        FROM
        (
            SELECT w, arraySlice(arrayDifference(arrayFilter(x -> x >= (w + 900 - back) * 1000, times)), 2) AS differences
            FROM
            (
                SELECT w, arraySort(groupArray(at)) AS times, arrayJoin([3600, 7200]) AS back
                FROM
                (
                    SELECT (intDiv(toUnixTimestamp(start), 900) + arrayJoin(range(8))) * 900 AS w, site, probe, src_ip, dst_port, protocol, toInt64(toUnixTimestamp64Milli(start)) AS at,
                        lower(if(tls_sni != '', tls_sni, replaceRegexpOne(http_host, ':[0-9]*$', ''))) AS name, arrayJoin(if(/*dst_inside*/ AND name != '', [name, ''], [name])) AS called, if(called = '', dst_ip, toIPv6('::')) AS target
                    FROM flows
                    WHERE start >= {from:DateTime('UTC')} - INTERVAL 105 MINUTE AND start < {to:DateTime('UTC')}
                      AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
                      AND protocol IN (6, 17, 132) AND dst_port NOT IN (53, 67, 68, 123, 853, 5353) AND /*unicast*/ AND {step:Int64} > 0 AND {overlap:UInt32} > 0
                )
                GROUP BY w, site, probe, src_ip, dst_port, protocol, called, target
                HAVING count() >= 7
            )
        )
        WHERE length(differences) >= 6
    )
    WHERE arrayCount(x -> x BETWEEN 0.65 * m1 AND 1.35 * m1, g1) >= {min_concentration:Float64} * length(g1) AND notEmpty(g1)
       OR arrayCount(x -> x BETWEEN 0.65 * m10 AND 1.35 * m10, g10) >= {min_concentration:Float64} * length(g10) AND notEmpty(g10)
    UNION DISTINCT
    SELECT intDiv(toUnixTimestamp(start), 3600) * 3600 + 2700 AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND src_payload_bytes > 0 AND dst_payload_bytes > 0
)
WHERE w >= toUnixTimestamp({from:DateTime('UTC')}) AND w < toUnixTimestamp({to:DateTime('UTC')})
ORDER BY 1

-- Quarters of an hour with a pair whose calls of the 1 or 2 hours before their end look
-- like those of a clock, full hours with one that does over 6 or 24 hours, and every
-- sixth hour in which anybody called, which looks back 7 days. A span without the end
-- of a full hour needs no more than 2 hours.
SELECT DISTINCT w
FROM
(
    SELECT w, length(gaps) AS n, arrayReduce('medianExact', gaps) AS m,
        arrayCount(x -> x BETWEEN 0.65 * m AND 1.35 * m, gaps) AS close, arrayCount(x -> x < 0.65 * m, gaps) AS short, arrayCount(x -> x > 2.7 * m, gaps) AS far
    FROM
    (
        SELECT w, arrayJoin([arrayFilter(x -> x >= 1000, differences), arrayFilter(x -> x >= 10000, differences)]) AS gaps
        FROM
        (
            SELECT w, arraySlice(arrayDifference(arrayFilter(x -> x >= (w + 900 - back) * 1000, times)), 2) AS differences
            FROM
            (
                SELECT w, arraySort(groupArray(at)) AS times, arrayJoin(if(w % 3600 = 2700, [3600, 7200, 21600, 86400], [3600, 7200])) AS back
                FROM
                (
                    SELECT arrayJoin(arrayFilter(x -> x >= toUnixTimestamp({from:DateTime('UTC')}) AND x < toUnixTimestamp({to:DateTime('UTC')}),
                            arrayConcat(arrayMap(i -> (intDiv(at, 900000) + i) * 900, range(8)), arrayMap(i -> (intDiv(at, 3600000) + i) * 3600 + 2700, range(2, 24))))) AS w,
                        site, probe, src_ip, dst_port, protocol, toInt64(toUnixTimestamp64Milli(start)) AS at, arrayJoin(if(ja4 = '', [''], ['', toString(ja4)])) AS variant,
                        lower(if(tls_sni != '', tls_sni, replaceRegexpOne(http_host, ':[0-9]*$', ''))) AS name, arrayJoin(if(/*dst_inside*/ AND name != '', [name, ''], [name])) AS called, if(called = '', dst_ip, toIPv6('::')) AS target
                    FROM flows
                    WHERE start >= {from:DateTime('UTC')} - toIntervalHour(if(toStartOfHour({to:DateTime('UTC')}) > {from:DateTime('UTC')}, 24, 2)) AND start < {to:DateTime('UTC')}
                      AND segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0
                      AND protocol IN (6, 17, 132) AND dst_port NOT IN (53, 67, 68, 123, 853, 5353) AND /*unicast*/ AND {step:Int64} > 0 AND {overlap:UInt32} > 0
                )
                GROUP BY w, site, probe, src_ip, dst_port, protocol, called, target, variant
                HAVING count() >= 7
            )
        )
    )
    -- the likelihood of beacon_score.go, and its rule for few calls
    WHERE n >= 6 AND close >= {min_concentration:Float64} * n
      AND (1.244 * close - 0.685 * (toInt64(n) - close - short - far) - 2.73 * far - 3.6 * short >= 10.5 OR arrayAll(x -> x BETWEEN 0.85 * m AND 1.15 * m, gaps))
    UNION DISTINCT
    SELECT toInt64(intDiv(toUnixTimestamp(start), 21600) * 21600 + 20700), 0, 0, 0, 0, 0
    FROM flows
    WHERE toStartOfInterval({to:DateTime('UTC')}, INTERVAL 6 HOUR) > {from:DateTime('UTC')}
      AND start >= {from:DateTime('UTC')} - INTERVAL 6 HOUR AND start < {to:DateTime('UTC')} AND segment = 0 AND src_payload_bytes > 0 AND dst_payload_bytes > 0
)
WHERE w >= toUnixTimestamp({from:DateTime('UTC')}) AND w < toUnixTimestamp({to:DateTime('UTC')})
ORDER BY 1

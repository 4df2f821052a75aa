-- Days in which, the day before included, some source outside missed enough.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT (intDiv(toUnixTimestamp(start), {step:Int64}) + arrayJoin([0, 1])) * {step:Int64} AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} - INTERVAL 1 DAY AND start < {to:DateTime('UTC')} AND {overlap:UInt32} = 1
      AND protocol IN (6, 17, 132) AND NOT /*src_inside*/ AND /*failed*/ AND /*dst_inside*/ AND /*unicast*/ AND /*purposeful*/
    GROUP BY w, site, src_ip
    HAVING uniqExact((dst_ip, protocol, dst_port)) >= {least:UInt32}
)
ORDER BY 1

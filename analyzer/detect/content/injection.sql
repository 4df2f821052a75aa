-- Requests of one source, or to one server, that are attacks, in [from, to): one row.
-- keys are the hashes of their texts, sources who sent them. Several probes may see one request.
SELECT sum(n) AS requests, sum(good) AS answered_well, uniqExact(dst_ip) AS servers,
    least(1, 0.3 + 0.35 * log10(1 + requests)) AS volume,
    if(requests = 0, 0, answered_well / requests) AS answered,
    arraySort(groupUniqArray(32)(text)) AS texts
FROM
(
    SELECT src_ip, dst_ip, text, max(m) AS n, max(g) AS good
    FROM
    (
        SELECT probe, src_ip, dst_ip, text, count() AS m, countIf(status BETWEEN 200 AND 299 OR status >= 500) AS g
        FROM
        (
            SELECT probe, src_ip, dst_ip, item.1 AS text, item.2 AS status
            FROM
            (
                SELECT probe, src_ip, dst_ip, arrayJoin(/*items*/) AS item
                FROM flows
                WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND (notEmpty(http_requests) OR http_uri != '' OR http_user_agent != '')
                  AND has({sources:Array(String)}, /*src_text*/) AND ({dst:String} = '' OR dst_ip = toIPv6OrDefault({dst:String})) AND site = {site:String}
            )
        )
        WHERE has({keys:Array(UInt64)}, cityHash64(text))
        GROUP BY probe, src_ip, dst_ip, text
    )
    GROUP BY src_ip, dst_ip, text
)

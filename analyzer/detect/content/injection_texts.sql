-- Requests and User-Agents, in [from, to), that are worth a look: one row for a
-- source, a server and a text. Several probes may see one request.
SELECT site, /*src_text*/ AS src, /*dst_text*/ AS dst, /*src_inside*/ AS inside, dst_port AS port, text, header, cityHash64(text) AS key,
    max(m) AS requests, max(g) AS answered_well, min(f) AS first, max(l) AS last,
    arraySlice(arraySort(arrayDistinct(arrayFlatten(groupArray(i)))), 1, 5) AS flow_ids
FROM
(
    SELECT site, probe, src_ip, dst_ip, dst_port, text, header, count() AS m, countIf(status BETWEEN 200 AND 299 OR status >= 500) AS g, min(start) AS f, max(end) AS l, groupArraySorted(5)(id) AS i
    FROM
    (
        SELECT site, probe, src_ip, dst_ip, dst_port, start, end, id, item.1 AS text, item.2 AS status, item.3 AS header
        FROM
        (
            SELECT site, probe, src_ip, dst_ip, dst_port, start, end, /*flow_id*/ AS id, arrayJoin(/*items*/) AS item
            FROM flows
            WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND (notEmpty(http_requests) OR http_uri != '' OR http_user_agent != '') AND src_role NOT IN ('scanner', 'monitor') AND NOT /*exempt*/
        )
        WHERE /*suspect*/
    )
    GROUP BY site, probe, src_ip, dst_ip, dst_port, text, header
)
GROUP BY site, src_ip, dst_ip, dst_port, text, header
ORDER BY src_ip, dst_ip, dst_port, site, header, text
LIMIT {limit:UInt32}

-- Windows with a request that is worth a look.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT w, item.1 AS text, item.3 AS header
    FROM
    (
        SELECT /*window*/ AS w, arrayJoin(/*items*/) AS item
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND (notEmpty(http_requests) OR http_uri != '' OR http_user_agent != '') AND src_role NOT IN ('scanner', 'monitor')
    )
    WHERE /*suspect*/
)
ORDER BY 1

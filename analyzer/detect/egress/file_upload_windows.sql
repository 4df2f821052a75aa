-- Windows with FTP or mail from the inside to the outside.
SELECT DISTINCT /*window*/ AS w
FROM flows
WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND app IN ('ftp', 'smtp') AND notEmpty(app_requests) AND /*src_inside*/ AND NOT /*dst_inside*/
ORDER BY w

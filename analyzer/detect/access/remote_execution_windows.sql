-- Windows in which there is SMB with a request worth a look, or the endpoint mapper.
SELECT DISTINCT toInt64(/*window*/)
FROM flows
WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND segment = 0 AND protocol = 6
  AND (dst_port = 135 OR app = 'smb' AND arrayExists(q -> startsWith(q, 'CREATE '), app_requests))
ORDER BY 1

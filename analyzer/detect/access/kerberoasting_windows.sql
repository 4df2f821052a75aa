-- Windows with a ticket enciphered with RC4.
SELECT DISTINCT toInt64(/*window*/)
FROM flows
WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND app = 'kerberos' AND arrayExists(r -> match(r, '^TGS-REP .* rc4-hmac'), app_responses)
ORDER BY 1

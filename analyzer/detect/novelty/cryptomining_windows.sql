-- Windows with what may be crypto-currency.
SELECT DISTINCT toInt64(w)
FROM
(
    SELECT DISTINCT /*window*/ AS w
    FROM flows
    WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND (app = 'bitcoin' OR protocol = 6 AND dst_port IN {ports:Array(UInt16)} AND dst_payload_bytes > 0 OR arrayExists(n -> match(n, {names:String}), arrayConcat(if(app = 'dns', dns_names, []), [lower(tls_sni), lower(http_host)])))
)
ORDER BY 1

-- Windows in which a host, a service or a login was seen for the first time.
SELECT DISTINCT intDiv(toInt64(toUnixTimestamp(first)), {step:Int64}) * {step:Int64} - arrayJoin(range({overlap:UInt32})) * {step:Int64} AS w
FROM (SELECT kind, site, value, toDateTime(min(f.first), 'UTC') AS first FROM first_seen AS f WHERE kind = {kind:String} GROUP BY kind, site, value)
WHERE first >= {from:DateTime('UTC')} AND first < {to:DateTime('UTC')}
ORDER BY w

-- Windows in which some probe is heard, if there are several.
SELECT DISTINCT toInt64(intDiv(toUnixTimestamp(second), {step:Int64}) - arrayJoin(range({overlap:UInt32}))) * {step:Int64} AS at
FROM ledger
WHERE second >= {from:DateTime('UTC')} AND second < {to:DateTime('UTC')}
  AND (SELECT uniqExact(site, probe) FROM ledger WHERE second >= {from:DateTime('UTC')} - INTERVAL 3 HOUR AND second < {to:DateTime('UTC')}) > 1
ORDER BY at

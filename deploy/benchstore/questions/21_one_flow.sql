-- every column of one flow
-- key: SELECT concat(toString(src_ip), ' ', toString(dst_ip), ' ', toString(start)) FROM flows ORDER BY community_hash LIMIT 1
SELECT * FROM flows
WHERE src_ip = toIPv6(splitByChar(' ', {key:String})[1]) AND dst_ip = toIPv6(splitByChar(' ', {key:String})[2])
  AND start = toDateTime64(substring({key:String}, length({key:String}) - 28), 9, 'UTC')

SELECT term, beat, holder, dateDiff('millisecond', now64(3, 'UTC'), until)
FROM leases WHERE name = {name:String}
ORDER BY term DESC, beat DESC LIMIT 1

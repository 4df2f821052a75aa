INSERT INTO retro_swept (kind, value, list, sweep, until, gone, at)
SELECT kind, value, list, sweep, fromUnixTimestamp64Milli({until:Int64}, 'UTC'), false, now64(3, 'UTC') FROM retro_indicators FINAL WHERE sweep = {sweep:String}

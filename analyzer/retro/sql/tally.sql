SELECT count(), uniqExact(host) FROM retro_hits FINAL WHERE sweep = {sweep:String}

SELECT toString(source), toDateTime(first, 'UTC'), toDateTime(last, 'UTC') FROM retro_parts FINAL WHERE sweep = {sweep:String}

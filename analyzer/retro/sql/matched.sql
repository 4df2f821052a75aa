SELECT toString(field), uniqExact(seen) FROM retro_matches WHERE sweep = {sweep:String} AND source = {source:String} AND first = {first:Date} GROUP BY field

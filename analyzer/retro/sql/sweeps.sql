SELECT id, source, who, lists, indicators, toString(state), error, parts, parts_done, hits, hosts, began, updated, took_ms
FROM retro_sweeps FINAL
WHERE {id:String} = '' OR id = {id:String}
ORDER BY began DESC, id
LIMIT {limit:UInt32}

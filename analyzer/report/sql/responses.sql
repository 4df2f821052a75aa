SELECT at, id, state, kind, target, who, note FROM response_steps WHERE alert = {id:String} ORDER BY at, id, step LIMIT 1000

SELECT at, sink, toString(status), revision FROM deliveries FINAL WHERE alert = {id:String} AND status IN ('delivered', 'gave_up') ORDER BY at, sink LIMIT 1000

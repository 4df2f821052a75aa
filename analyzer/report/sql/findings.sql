SELECT window_start, window_end, revision, gone, title, toString(severity), magnitude, provisional FROM alert_findings FINAL WHERE alert = {id:String} ORDER BY window_start, window_end LIMIT 1000

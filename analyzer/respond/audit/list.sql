SELECT seq, at, who, action, object, detail, prev, hash FROM audit_log WHERE seq > {after:UInt64} ORDER BY seq, hash LIMIT {limit:UInt32}

SELECT seq, at, who, action, object, detail, prev, hash FROM audit_log ORDER BY seq DESC LIMIT 1

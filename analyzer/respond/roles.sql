-- Networks whose role protects them.
SELECT prefix FROM networks FINAL WHERE lower(role) IN {roles:Array(String)}

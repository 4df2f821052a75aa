-- one community id
-- hash: SELECT toString(max(community_hash)) FROM flows WHERE protocol = 6
SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni FROM flows WHERE community_hash = {hash:UInt64} ORDER BY start DESC LIMIT 1000

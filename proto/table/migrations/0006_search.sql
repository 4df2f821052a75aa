-- How `flows` is compressed and searched. Everything here is a change of
-- description: new parts and merges follow it, old parts stay as they are until
-- they are merged or materialised. README.md has the figures.

-- Times are whole microseconds as a rule: their common divisor goes first, then
-- the high bits that all share. Numbers below a limit keep only their low bits.
-- Names that repeat compress twice as well as LZ4, the default, has them.
ALTER TABLE flows
    MODIFY COLUMN start CODEC(GCD, T64, ZSTD(1)),
    MODIFY COLUMN end CODEC(GCD, T64, ZSTD(1)),
    MODIFY COLUMN received CODEC(T64, ZSTD(1)),
    MODIFY COLUMN seq CODEC(T64, ZSTD(1)),
    MODIFY COLUMN row CODEC(T64, ZSTD(1)),
    MODIFY COLUMN kafka_offset CODEC(T64, ZSTD(1)),
    MODIFY COLUMN flow_id CODEC(T64, ZSTD(1)),
    MODIFY COLUMN community_hash CODEC(ZSTD(3)),
    MODIFY COLUMN response_us CODEC(T64, ZSTD(1)),
    MODIFY COLUMN src_rtt_us CODEC(T64, ZSTD(1)),
    MODIFY COLUMN transactions CODEC(T64, ZSTD(1)),
    MODIFY COLUMN transaction_min_us CODEC(T64, ZSTD(1)),
    MODIFY COLUMN transaction_mean_us CODEC(T64, ZSTD(1)),
    MODIFY COLUMN transaction_max_us CODEC(T64, ZSTD(1)),
    MODIFY COLUMN src_size_min CODEC(T64, ZSTD(1)),
    MODIFY COLUMN dst_size_min CODEC(T64, ZSTD(1)),
    MODIFY COLUMN first_sizes CODEC(ZSTD(3)),
    MODIFY COLUMN dns_names CODEC(ZSTD(3)),
    MODIFY COLUMN dns_answers CODEC(ZSTD(3)),
    MODIFY COLUMN probe CODEC(ZSTD(1)),
    MODIFY COLUMN site CODEC(ZSTD(1)),
    MODIFY COLUMN interface CODEC(ZSTD(1)),
    MODIFY COLUMN tunnel CODEC(ZSTD(1)),
    MODIFY COLUMN end_reason CODEC(ZSTD(1)),
    MODIFY COLUMN conn_state CODEC(ZSTD(1)),
    MODIFY COLUMN history CODEC(ZSTD(1)),
    MODIFY COLUMN app CODEC(ZSTD(1)),
    MODIFY COLUMN app_source CODEC(ZSTD(1)),
    MODIFY COLUMN tls_alpn CODEC(ZSTD(1)),
    MODIFY COLUMN ja3 CODEC(ZSTD(1)),
    MODIFY COLUMN ja3s CODEC(ZSTD(1)),
    MODIFY COLUMN ja4 CODEC(ZSTD(1)),
    MODIFY COLUMN http_method CODEC(ZSTD(1)),
    MODIFY COLUMN http_user_agent CODEC(ZSTD(1)),
    MODIFY COLUMN http_content_type CODEC(ZSTD(1)),
    MODIFY COLUMN ssh_client CODEC(ZSTD(1)),
    MODIFY COLUMN ssh_server CODEC(ZSTD(1)),
    MODIFY COLUMN hassh CODEC(ZSTD(1)),
    MODIFY COLUMN hassh_server CODEC(ZSTD(1)),
    MODIFY COLUMN service CODEC(ZSTD(1)),
    MODIFY COLUMN user CODEC(ZSTD(1)),
    MODIFY COLUMN domain CODEC(ZSTD(1)),
    MODIFY COLUMN app_host CODEC(ZSTD(1)),
    MODIFY COLUMN app_version CODEC(ZSTD(1)),
    MODIFY COLUMN client_software CODEC(ZSTD(1)),
    MODIFY COLUMN server_software CODEC(ZSTD(1));

-- A row that is deleted goes from the projections as well. Old parts that are merged
-- get them; parts with and without are not merged with each other.
ALTER TABLE flows MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild', materialize_projections_on_merge = 1;

-- What a list of flows shows, once more, sorted by responder and by server name:
-- the answer lies together, where otherwise each row is a read of its own. Any
-- other column of a row is found by its key (src_ip, dst_ip, dst_port, start).
ALTER TABLE flows ADD PROJECTION IF NOT EXISTS by_dst_ip
(
    SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni
    ORDER BY dst_ip, src_ip, start
) WITH SETTINGS (index_granularity = 1024);
ALTER TABLE flows ADD PROJECTION IF NOT EXISTS by_tls_sni
(
    SELECT start, src_ip, dst_ip, src_port, dst_port, protocol, app, segment, src_bytes, dst_bytes, tls_sni
    ORDER BY tls_sni, src_ip, start
) WITH SETTINGS (index_granularity = 1024);

-- Rarer questions: which rows have this value. The lists are exact, so one value
-- costs one read of each granule that has it, and no other.
ALTER TABLE flows ADD INDEX IF NOT EXISTS ja4 ja4 TYPE text(tokenizer = 'array') GRANULARITY 1;
ALTER TABLE flows ADD INDEX IF NOT EXISTS hassh hassh TYPE text(tokenizer = 'array') GRANULARITY 1;
ALTER TABLE flows ADD INDEX IF NOT EXISTS tls_cert_sha256 tls_cert_sha256 TYPE text(tokenizer = 'array') GRANULARITY 1;
ALTER TABLE flows ADD INDEX IF NOT EXISTS http_host http_host TYPE text(tokenizer = 'array') GRANULARITY 1;
ALTER TABLE flows ADD INDEX IF NOT EXISTS dns_names dns_names TYPE text(tokenizer = 'array') GRANULARITY 1;
ALTER TABLE flows ADD INDEX IF NOT EXISTS user user TYPE bloom_filter(0.01) GRANULARITY 1;
ALTER TABLE flows ADD INDEX IF NOT EXISTS dst_port dst_port TYPE bloom_filter(0.01) GRANULARITY 1

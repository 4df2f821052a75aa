-- Users of Tapwatch for a server that is administered by SQL (access_management = 1), by an administrator, once:
--
--   clickhouse-client --multiquery < users.sql
--
-- In a cluster, add ON CLUSTER tapwatch to each CREATE and GRANT, or keep users in Keeper (<user_directories><replicated>). Replace
-- each password: `head -c 24 /dev/urandom | base64`. The same users as XML are what ../docker/secrets.sh writes.

CREATE SETTINGS PROFILE IF NOT EXISTS migrator SETTINGS async_insert = 0;
CREATE SETTINGS PROFILE IF NOT EXISTS writer SETTINGS async_insert = 0;
-- People's questions. With readonly = 1 none of these can be changed.
CREATE SETTINGS PROFILE IF NOT EXISTS reader SETTINGS
    readonly = 1,
    max_execution_time = 60,
    max_memory_usage = 2000000000,
    max_memory_usage_for_user = 4000000000,
    max_rows_to_read = 2000000000,
    max_bytes_to_read = 100000000000,
    max_result_rows = 1000000,
    max_result_bytes = 500000000,
    max_temporary_data_on_disk_size_for_user = 10000000000,
    max_concurrent_queries_for_user = 8,
    max_threads = 4,
    max_ast_elements = 10000,
    cancel_http_readonly_queries_on_client_close = 1,
    distributed_product_mode = 'global';
CREATE SETTINGS PROFILE IF NOT EXISTS analyzer SETTINGS
    async_insert = 0,
    max_memory_usage_for_user = 4000000000,
    max_concurrent_queries_for_user = 64,
    distributed_foreground_insert = 1,
    distributed_product_mode = 'global';

CREATE USER IF NOT EXISTS migrator IDENTIFIED WITH sha256_password BY 'replace-me-1' SETTINGS PROFILE 'migrator';
CREATE USER IF NOT EXISTS writer IDENTIFIED WITH sha256_password BY 'replace-me-2' SETTINGS PROFILE 'writer';
CREATE USER IF NOT EXISTS reader IDENTIFIED WITH sha256_password BY 'replace-me-3' SETTINGS PROFILE 'reader';
CREATE USER IF NOT EXISTS analyzer IDENTIFIED WITH sha256_password BY 'replace-me-4' SETTINGS PROFILE 'analyzer';

-- tapwatch-collector migrate, backup and restore
GRANT ALL ON tapwatch.* TO migrator;
GRANT ALL ON tapwatch_shard.* TO migrator;
GRANT TABLE ENGINE ON * TO migrator;
GRANT SELECT ON system.tables TO migrator;
GRANT SELECT ON system.parts TO migrator;
GRANT SELECT ON system.mutations TO migrator;
GRANT SELECT ON system.disks TO migrator;
GRANT SELECT ON system.storage_policies TO migrator;

-- tapwatch-collector: rows, rollups, retention, enrichment, erasure. No table can be made, changed or dropped.
GRANT SELECT, INSERT, ALTER UPDATE, ALTER DELETE, ALTER TTL ON tapwatch.* TO writer;
GRANT SELECT, INSERT, ALTER UPDATE, ALTER DELETE, ALTER TTL ON tapwatch_shard.* TO writer;
GRANT TRUNCATE ON tapwatch.enrich_addresses TO writer;
GRANT TRUNCATE ON tapwatch.enrich_hits TO writer;
GRANT TRUNCATE ON tapwatch_shard.enrich_addresses TO writer;
GRANT TRUNCATE ON tapwatch_shard.enrich_hits TO writer;
GRANT SHOW TABLES ON system.* TO writer;
GRANT SELECT ON system.parts TO writer;
GRANT SELECT ON system.mutations TO writer;
GRANT SELECT ON system.processes TO writer;
GRANT SELECT ON system.disks TO writer;
GRANT SELECT ON system.storage_policies TO writer;

-- people and their tools
GRANT SELECT, dictGet ON tapwatch.* TO reader;
GRANT SELECT, dictGet ON tapwatch_shard.* TO reader;

-- tapwatch-analyzer
GRANT SELECT, dictGet ON tapwatch.* TO analyzer;
GRANT SELECT, dictGet ON tapwatch_shard.* TO analyzer;
GRANT INSERT ON tapwatch.alerts TO analyzer;
GRANT INSERT ON tapwatch.job_runs TO analyzer;
GRANT INSERT ON tapwatch.deliveries TO analyzer;
GRANT INSERT ON tapwatch.alert_findings TO analyzer;
GRANT INSERT ON tapwatch.incident_events TO analyzer;
GRANT INSERT ON tapwatch.exclusions TO analyzer;
GRANT INSERT ON tapwatch.leases TO analyzer;
GRANT INSERT ON tapwatch.audit_log TO analyzer;
GRANT INSERT ON tapwatch.response_steps TO analyzer;
GRANT INSERT ON tapwatch.reports_written TO analyzer;
GRANT INSERT ON tapwatch.retro_sweeps TO analyzer;
GRANT INSERT ON tapwatch.retro_indicators TO analyzer;
GRANT INSERT ON tapwatch.retro_swept TO analyzer;
GRANT INSERT ON tapwatch.retro_days TO analyzer;
GRANT INSERT ON tapwatch.retro_parts TO analyzer;
GRANT INSERT ON tapwatch.retro_matches TO analyzer;
GRANT INSERT ON tapwatch.retro_hits TO analyzer;
GRANT INSERT ON tapwatch_shard.alerts TO analyzer;
GRANT INSERT ON tapwatch_shard.job_runs TO analyzer;
GRANT INSERT ON tapwatch_shard.deliveries TO analyzer;
GRANT INSERT ON tapwatch_shard.alert_findings TO analyzer;
GRANT INSERT ON tapwatch_shard.incident_events TO analyzer;
GRANT INSERT ON tapwatch_shard.exclusions TO analyzer;
GRANT INSERT ON tapwatch_shard.leases TO analyzer;
GRANT INSERT ON tapwatch_shard.audit_log TO analyzer;
GRANT INSERT ON tapwatch_shard.response_steps TO analyzer;
GRANT INSERT ON tapwatch_shard.reports_written TO analyzer;
GRANT INSERT ON tapwatch_shard.retro_sweeps TO analyzer;
GRANT INSERT ON tapwatch_shard.retro_indicators TO analyzer;
GRANT INSERT ON tapwatch_shard.retro_swept TO analyzer;
GRANT INSERT ON tapwatch_shard.retro_days TO analyzer;
GRANT INSERT ON tapwatch_shard.retro_parts TO analyzer;
GRANT INSERT ON tapwatch_shard.retro_matches TO analyzer;
GRANT INSERT ON tapwatch_shard.retro_hits TO analyzer;

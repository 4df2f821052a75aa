-- Flows that no probe saw, but an importer read from logs or got from a router.
ALTER TABLE flows ADD COLUMN IF NOT EXISTS origin LowCardinality(String) COMMENT 'who made the record: empty a probe, else zeek, eve, netflow5, netflow9, ipfix, sflow or argus, which leave at 0 what they do not know' AFTER dns_latencies_us;

-- Octets of a row, by table and column, as they are after decompression.
SELECT c.table, c.name, c.data_uncompressed_bytes / t.total_rows
FROM system.columns AS c
INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE c.database = currentDatabase() AND t.total_rows > 0 AND c.table IN ('flows', 'flows_1m_builds', 'flows_1h_builds', 'flows_1d_builds')

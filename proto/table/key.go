package table

import "strings"

// The sort key of `flows` as the first migration has it, and the one that a
// database gets which has no `flows` yet. Both hold the same rows and take the
// same inserts; a key cannot be changed once there is a table, so a filled
// database keeps the first. Which of them reads how much stands in README.md.
const (
	firstKey = "ORDER BY (toStartOfHour(start), src_ip, dst_ip, dst_port, start)"
	freshKey = "ORDER BY (src_ip, dst_ip, dst_port, start)"

	firstSettings = "SETTINGS non_replicated_deduplication_window"
	freshSettings = "SETTINGS index_granularity = 1024, non_replicated_deduplication_window"
)

// fresh returns the statement as a database without the table is to get it. The
// statements that create are IF NOT EXISTS: when two runners of different
// builds begin together, the table is that of the first, whole.
func fresh(statement string) string {
	if !strings.HasPrefix(statement, "CREATE TABLE IF NOT EXISTS flows\n") {
		return statement
	}
	return strings.Replace(strings.Replace(statement, firstKey, freshKey, 1), firstSettings, freshSettings, 1)
}

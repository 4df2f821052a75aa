package rollup

import (
	_ "embed"
	"strings"
	"time"
)

var (
	//go:embed flows_1m.sql
	flows1mSQL string
	//go:embed flows_1h.sql
	flows1hSQL string
	//go:embed flows_1d.sql
	flows1dSQL string
	//go:embed hosts_1h.sql
	hosts1hSQL string
	//go:embed beacons_1h.sql
	beacons1hSQL string
	//go:embed names_1h.sql
	names1hSQL string
	//go:embed first_seen.sql
	firstSeenSQL string
)

// rollup is one table that is a function of raw.
type rollup struct {
	name  string // in rollup_builds
	table string // of its builds
	sql   string // adds the rows of a build
	plain bool   // rows may be added again without harm and have no build
}

// hourly returns the rollups whose bucket is an hour, in the order in which they
// are built: one may be made of those before it.
func hourly() []rollup {
	return []rollup{
		{name: "flows_1m", table: "flows_1m_builds", sql: flows1mSQL},
		{name: "flows_1h", table: "flows_1h_builds", sql: flows1hSQL},
		{name: "hosts_1h", table: "hosts_1h_builds", sql: hosts1hSQL},
		{name: "beacons_1h", table: "beacons_1h_builds", sql: beacons1hSQL},
		{name: "names_1h", table: "names_1h_builds", sql: names1hSQL},
		{name: "first_seen", table: "first_seen_values", sql: firstSeenSQL, plain: true},
	}
}

// daily is made of flows_1h.
func daily() rollup { return rollup{name: "flows_1d", table: "flows_1d_builds", sql: flows1dSQL} }

const (
	// rowsOf are the raw rows of the buckets. The days are said again for the
	// partitions, the range for the sort key.
	rowsOf = `(toYYYYMMDD(start) IN @dates AND start >= toDateTime(@from, 'UTC') AND start < toDateTime(@to, 'UTC') AND toUnixTimestamp(toStartOfHour(start)) IN @buckets)`
	// lateOf are those of them that are in the batches sent along.
	lateOf = `(` + rowsOf + ` AND (probe, epoch, worker, seq) IN (SELECT probe, epoch, worker, seq FROM ids))`
	// alone: every row is the primary observer's.
	alone = `true`
	// watched looks for the rows of the others, see secondary.sql.
	watched = `(cityHash64(probe, epoch, worker, seq, row) NOT IN (SELECT id FROM rollup_secondary WHERE build = @build))`
	// newestHours are the newest builds of the hours of the days.
	newestHours = `(hours.bucket >= toDateTime(@from, 'UTC') AND hours.bucket < toDateTime(@to, 'UTC') AND toUnixTimestamp(toStartOfDay(hours.bucket)) IN @days
		AND (hours.bucket, hours.build) IN (SELECT bucket, max(build) FROM rollup_builds WHERE rollup = 'flows_1h' GROUP BY bucket))`
	// addedHours are those of the build at hand.
	addedHours = `(toUnixTimestamp(hours.bucket) IN @buckets AND hours.build = @build)`
)

// fill puts the parts of a statement into their places: constants of this
// package, never values.
func fill(sql string, parts ...string) string { return strings.NewReplacer(parts...).Replace(sql) }

const (
	hour = int64(time.Hour / time.Second)
	day  = 24 * hour
)

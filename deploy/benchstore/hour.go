package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/rollup"
)

// hour has an average hour of a day arrive once more on the day after the last, in
// inserts of 10 s as a collector makes them, and every detector judge its windows
// as they come to their ends, and then all of it once more, as a backlog; it prints
// what each took.
func hour(ctx context.Context, out io.Writer, db driver.Conn, ch *local.ClickHouse) (err error) {
	began, building := time.Now(), processTime(ch.PID())
	if err = buildRollups(ctx, db); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n## An hour of detectors\n\nRollups of all flows: %.0f s, %.0f CPU s of the server.\n", time.Since(began).Seconds(), (processTime(ch.PID()) - building).Seconds())
	end, flows, err := arriving(ctx, db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, depart(context.WithoutCancel(ctx), db, end)) }()
	var inserts, rollups time.Duration
	spent := func(into *time.Duration, work func() error) error {
		began := time.Now()
		defer func() { *into += time.Since(began) }()
		return work()
	}
	from := end.Add(-time.Hour)
	began, judging, self := time.Now(), processTime(ch.PID()), selfTime()
	list, err := analyzer.JudgeHour(ctx, analyzer.DefaultConfig(), db, end, func(ctx context.Context, until time.Time) error {
		err := spent(&inserts, func() error {
			return db.Exec(ctx, "INSERT INTO flows ("+allColumns()+") SELECT "+allColumns()+" FROM arriving WHERE start >= ? AND start < ?", from, until)
		})
		from = until
		if err == nil && until.Equal(end) {
			err = spent(&rollups, func() error { return buildRollups(ctx, db) })
		}
		return err
	})
	if err != nil {
		return err
	}
	took := time.Since(began) - inserts - rollups
	fmt.Fprintf(out, "%s flows in the hour before %s; %d detectors: %.1f s by the clock; %.1f s more to insert it and %.1f s for its rollups. In all %.1f CPU s of the server and %.1f of ours, on %d cores.\n\n",
		count(float64(flows)), end.Format(time.DateTime), len(list), took.Seconds(), inserts.Seconds(), rollups.Seconds(),
		(processTime(ch.PID()) - judging).Seconds(), (selfTime() - self).Seconds(), runtime.NumCPU())
	printJudged(out, list)
	began, judging = time.Now(), processTime(ch.PID())
	if list, err = analyzer.JudgeHour(ctx, analyzer.DefaultConfig(), db, end, nil); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe same hour once more, now that all of it is there: %.1f s by the clock, %.1f CPU s of the server.\n\n", time.Since(began).Seconds(), (processTime(ch.PID()) - judging).Seconds())
	printJudged(out, list)
	return nil
}

// printJudged prints what each detector took, the dearest first.
func printJudged(out io.Writer, list []analyzer.Judged) {
	slices.SortFunc(list, func(a, b analyzer.Judged) int { return cmp.Compare(b.Took, a.Took) })
	fmt.Fprint(out, "| detector | windows | looked at | alerts | s |\n| --- | ---: | ---: | ---: | ---: |\n")
	for _, l := range list {
		if l.Took >= 100*time.Millisecond {
			fmt.Fprintf(out, "| %s | %d | %d | %d | %.2f |\n", l.Detector, l.Windows, l.Looked, l.Alerts, l.Took.Seconds())
		}
	}
}

// arriving makes the table of that name from the last day's hour that has most
// nearly a 24th of its flows, a day later, and returns its end and number of flows.
func arriving(ctx context.Context, db driver.Conn) (end time.Time, flows uint64, err error) {
	var day, hour time.Time
	row := db.QueryRow(ctx, `WITH (SELECT max(toStartOfDay(start)) FROM flows) AS day
		SELECT day, toStartOfHour(start) AS hour, count() AS n FROM flows WHERE start >= day GROUP BY hour ORDER BY abs(n - sum(n) OVER () / 24) LIMIT 1`)
	if err := row.Scan(&day, &hour, &flows); err != nil {
		return end, 0, fmt.Errorf("choose an hour: %w", err)
	}
	for _, sql := range []string{
		"SYSTEM START MERGES flows",
		"OPTIMIZE TABLE flows PARTITION " + day.Format("20060102") + " FINAL SETTINGS optimize_skip_merged_partitions = 1",
		"CREATE TABLE arriving ENGINE = MergeTree ORDER BY start AS SELECT " + strings.Replace(strings.Replace(strings.Replace(allColumns(),
			"epoch,", "epoch + 1 AS epoch,", 1), " start,", " f.start + INTERVAL 1 DAY AS start,", 1), " end,", " f.end + INTERVAL 1 DAY AS end,", 1) +
			" FROM flows AS f WHERE f.start >= toDateTime('" + hour.UTC().Format(time.DateTime) + "', 'UTC') AND f.start < toDateTime('" + hour.Add(time.Hour).UTC().Format(time.DateTime) + "', 'UTC')",
	} {
		if err := db.Exec(ctx, sql); err != nil {
			return end, 0, fmt.Errorf("make the flows of an hour: %w", err)
		}
	}
	return hour.UTC().Add(25 * time.Hour), flows, nil
}

// depart removes what arrived on the day of end, for -keep.
func depart(ctx context.Context, db driver.Conn, end time.Time) error {
	for _, sql := range []string{
		"DROP TABLE arriving",
		"ALTER TABLE flows DROP PARTITION " + end.Format("20060102"),
		"ALTER TABLE batches DELETE WHERE has(days, toDate('" + end.Format(time.DateOnly) + "')) SETTINGS mutations_sync = 1",
	} {
		if err := db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("remove the flows of an hour: %w", err)
		}
	}
	return nil
}

// buildRollups promises the flows as a collector would, and builds all rollups of them.
func buildRollups(ctx context.Context, db driver.Conn) error {
	if err := keepRollups(ctx, db); err != nil {
		return err
	}
	if err := db.Exec(ctx, promiseSQL); err != nil {
		return fmt.Errorf("promise flows: %w", err)
	}
	if err := rollup.Once(ctx, db); err != nil {
		return fmt.Errorf("build rollups: %w", err)
	}
	return nil
}

// keepRollups has rollups stay, of whatever time they are: the days are fixed, for
// the seed's sake.
func keepRollups(ctx context.Context, db driver.Conn) error {
	var names []string
	err := db.QueryRow(ctx, "SELECT groupArray(name) FROM system.tables WHERE database = currentDatabase() AND name != 'flows' AND create_table_query LIKE '% TTL %'").Scan(&names)
	if err != nil {
		return fmt.Errorf("look for what expires: %w", err)
	}
	for _, name := range names {
		if err := db.Exec(ctx, "ALTER TABLE `"+name+"` REMOVE TTL"); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	return nil
}

// promiseSQL makes the rows of batches from flows: one for each batch that has none.
// The streams have ended: nothing more is waited for.
const promiseSQL = `INSERT INTO batches (probe, site, epoch, worker, seq, topic, received, stored, status, end_of_stream, rows, days, day_rows, minutes, minute_rows)
	SELECT probe, any(site), epoch, worker, seq, 'flows.v1', now64(3), now64(3), 'stored', true, toUInt32(sum(n)), groupUniqArray(toDate(fromUnixTimestamp(minute * 60))), [toUInt32(sum(n))],
		groupArray(minute), groupArray(n)
	FROM (SELECT probe, site, epoch, worker, seq, toUInt32(intDiv(toUnixTimestamp(start), 60)) AS minute, toUInt32(count()) AS n FROM flows
		WHERE (probe, epoch, worker, seq) NOT IN (SELECT probe, epoch, worker, seq FROM batches) GROUP BY probe, site, epoch, worker, seq, minute)
	GROUP BY probe, epoch, worker, seq`

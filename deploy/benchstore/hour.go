package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/rollup"
)

// hour has every detector judge the windows that end in the last full hour of the
// flows, one at a time as they come to their ends, and prints what each took.
func hour(ctx context.Context, out io.Writer, db driver.Conn, ch *local.ClickHouse) error {
	began, building := time.Now(), processTime(ch.PID())
	if err := buildRollups(ctx, db); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n## An hour of detectors\n\nRollups of all flows: %.0f s, %.0f CPU s of the server.\n", time.Since(began).Seconds(), (processTime(ch.PID()) - building).Seconds())
	var last time.Time
	if err := db.QueryRow(ctx, "SELECT max(start) FROM flows").Scan(&last); err != nil {
		return fmt.Errorf("read the last flow: %w", err)
	}
	end := last.UTC().Truncate(time.Hour)
	var flows uint64
	if err := db.QueryRow(ctx, "SELECT count() FROM flows WHERE start >= ? AND start < ?", end.Add(-time.Hour), end).Scan(&flows); err != nil {
		return fmt.Errorf("count the hour: %w", err)
	}
	began, judging, self := time.Now(), processTime(ch.PID()), selfTime()
	list, err := analyzer.JudgeHour(ctx, analyzer.DefaultConfig(), db, end)
	if err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Fprintf(out, "%s flows in the hour before %s; %d detectors one after the other: %.1f s, %.1f CPU s of the server and %.1f of ours, on %d cores.\n\n",
		count(float64(flows)), end.Format(time.DateTime), len(list), took.Seconds(), (processTime(ch.PID()) - judging).Seconds(), (selfTime() - self).Seconds(), runtime.NumCPU())
	slices.SortFunc(list, func(a, b analyzer.Judged) int { return cmp.Compare(b.Took, a.Took) })
	fmt.Fprint(out, "| detector | windows | looked at | alerts | s |\n| --- | ---: | ---: | ---: | ---: |\n")
	for _, l := range list {
		if l.Took >= 100*time.Millisecond {
			fmt.Fprintf(out, "| %s | %d | %d | %d | %.2f |\n", l.Detector, l.Windows, l.Looked, l.Alerts, l.Took.Seconds())
		}
	}
	return nil
}

// buildRollups promises the flows as a collector would, and builds all rollups of them.
func buildRollups(ctx context.Context, db driver.Conn) error {
	if err := db.Exec(ctx, promiseSQL); err != nil {
		return fmt.Errorf("promise flows: %w", err)
	}
	if err := rollup.Once(ctx, db); err != nil {
		return fmt.Errorf("build rollups: %w", err)
	}
	return nil
}

// promiseSQL makes the rows of batches from flows: one for each batch.
const promiseSQL = `INSERT INTO batches (probe, site, epoch, worker, seq, topic, received, stored, status, rows, days, day_rows, minutes, minute_rows)
	SELECT probe, any(site), epoch, worker, seq, 'flows.v1', now64(3), now64(3), 'stored', toUInt32(sum(n)), groupUniqArray(toDate(fromUnixTimestamp(minute * 60))), [toUInt32(sum(n))],
		groupArray(minute), groupArray(n)
	FROM (SELECT probe, site, epoch, worker, seq, toUInt32(intDiv(toUnixTimestamp(start), 60)) AS minute, toUInt32(count()) AS n FROM flows GROUP BY probe, site, epoch, worker, seq, minute)
	GROUP BY probe, epoch, worker, seq`

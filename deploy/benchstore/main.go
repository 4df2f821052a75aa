// Command benchstore measures how `flows` is stored and searched, and prints
// markdown tables: twenty investigators' questions; sort keys, codecs, indexes
// and projections beside what is shipped; octets per row against those on the
// wire; what all detectors take for an hour of the flows; and rows per second and
// CPU second on three ways into the table. In come the probe's program, captures
// whose flows are the templates, and a seed; the same seed makes the same flows.
// All data is below one directory, which is removed at the end. Figures of one run
// may be compared with each other; across machines and loads, only ratios may.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sys/unix"

	"github.com/tapwatch/tapwatch/proto/flow"
	kitclickhouse "github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/table"
)

// keepFree is left on the disk whatever the flags say.
const keepFree = 20 << 30

// octetsPerRow is what a row may take with all indexes and projections, twice over for merges.
const octetsPerRow = 400

// parts of the benchmark, in the order they run.
var partNames = []string{"wire", "questions", "hour", "variants", "insert"}

type options struct {
	shape
	generated   int // days of the shape that are made
	dir, probe  string
	captures    string
	parts       []string
	variantRows int
	match       string // of the names of alternatives
	insertRows  int
	runs        int
	keep        bool
	memory      int64
	tcpPort     int
}

func main() {
	local.RunChildIfAsked()
	var o options
	var parts string
	flag.IntVar(&o.rows, "rows", 2_000_000, "flows in 90 days")
	flag.IntVar(&o.generated, "days", 90, "days of them to make: fewer show the same density in less time")
	flag.IntVar(&o.hosts, "hosts", 20_000, "clients")
	flag.IntVar(&o.names, "names", 300_000, "names of servers")
	flag.Uint64Var(&o.seed, "seed", 1, "the same seed makes the same flows")
	flag.StringVar(&o.dir, "dir", "", "where to put the data, removed at the end (default: a new directory for temporary files)")
	flag.StringVar(&o.probe, "probe", "../bin/probe", "the probe's program")
	flag.StringVar(&o.captures, "captures", "../../shared/captures", "captures for the templates; without them those of the demo")
	flag.StringVar(&parts, "only", strings.Join(partNames, ","), "what to measure")
	flag.IntVar(&o.variantRows, "variant-rows", 1_000_000, "rows of each alternative, of the first days; 0 for all")
	flag.StringVar(&o.match, "match", "", "only the alternatives whose names match this expression")
	flag.IntVar(&o.insertRows, "insert-rows", 400_000, "rows on each way into the table")
	flag.IntVar(&o.runs, "runs", 5, "warm runs of each question, the best counts")
	flag.BoolVar(&o.keep, "keep", false, "leave the data where it is")
	flag.Int64Var(&o.memory, "memory", 8<<30, "memory for ClickHouse, octets")
	flag.IntVar(&o.tcpPort, "port", 0, "native port of ClickHouse, to look at the data meanwhile")
	flag.Parse()
	o.shape.days, o.parts = 90, strings.Split(parts, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchstore: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.rows < 90 || o.generated < 1 || o.generated > 90 || o.hosts < 100 || o.names < 100 || o.runs < 1 || o.insertRows < 1 {
		return errors.New("rows must be at least 90, days 1 to 90, hosts and names at least 100, runs and insert-rows at least 1")
	}
	for _, p := range o.parts {
		if !slices.Contains(partNames, p) {
			return fmt.Errorf("-only %s: not one of %s", p, strings.Join(partNames, ", "))
		}
	}
	if o.probe, err = filepath.Abs(o.probe); err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "tapwatch-benchstore-"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	if !o.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	need := int64(o.rows) / 90 * int64(o.generated) * octetsPerRow
	var st unix.Statfs_t
	if err := unix.Statfs(o.dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < need+keepFree {
		return fmt.Errorf("%s has %.0f GB free, %.0f are needed and %d stay free: fewer -rows or -days", o.dir, float64(free)/1e9, float64(need)/1e9, keepFree>>30)
	}
	ch, err := local.StartClickHouse(ctx, local.ClickHouseConfig{Dir: filepath.Join(o.dir, "clickhouse"), MaxMemory: o.memory, TCPPort: o.tcpPort}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ch.Close()) }()
	db, err := open(ch, local.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := fillFlows(ctx, o, db, out); err != nil {
		return err
	}
	data := filepath.Join(o.dir, "clickhouse", "data", "store")
	for _, p := range []struct {
		name string
		run  func() error
	}{
		{"wire", func() error { return wire(ctx, out, db) }},
		{"questions", func() error { return questions(ctx, out, db, data, o.generated, o.runs) }},
		{"hour", func() error { return hour(ctx, out, db, ch) }},
		{"variants", func() error { return variants(ctx, out, db, o) }},
		{"insert", func() error { return insert(ctx, out, db, ch, o) }},
	} {
		if slices.Contains(o.parts, p.name) {
			if err := p.run(); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

func open(ch *local.ClickHouse, database string) (driver.Conn, error) {
	return kitclickhouse.Open(&clickhouse.Options{Addr: []string{ch.Addr()}, Auth: clickhouse.Auth{Database: database}, ReadTimeout: time.Hour, MaxOpenConns: 8})
}

// fillFlows makes the schema, the templates and the flows, and says what they take.
func fillFlows(ctx context.Context, o options, db driver.Conn, out io.Writer) error {
	if err := table.Migrate(ctx, db); err != nil {
		return err
	}
	var made uint64
	if err := db.QueryRow(ctx, "SELECT count() FROM flows").Scan(&made); err != nil {
		return fmt.Errorf("count flows: %w", err)
	}
	if made > 0 { // what -keep has left
		if err := db.Exec(ctx, "SYSTEM STOP MERGES flows"); err != nil {
			return fmt.Errorf("stop merges: %w", err)
		}
		return sayFlows(ctx, o, db, out)
	}
	for _, sql := range []string{
		"ALTER TABLE flows MODIFY TTL toDateTime(received) + INTERVAL 60 YEAR", // the days are fixed, for the seed's sake
		"SYSTEM STOP MERGES flows", // a day is one part already
		"CREATE TABLE raw ENGINE = MergeTree ORDER BY tuple() AS SELECT " + strings.Join(flow.ColumnNames(), ", ") + " FROM flows WHERE 0",
	} {
		if err := db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	files, told, err := findCaptures(o.captures)
	if err != nil {
		return err
	}
	templates, err := loadTemplates(ctx, db, o.probe, o.dir, files)
	if err != nil {
		return err
	}
	if err := prepare(ctx, db, o.shape); err != nil {
		return err
	}
	took, err := generate(ctx, db, "flows", o.shape, 0, o.generated)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Templates: %s records of %s. Flows made in %.0f s.\n", count(float64(templates)), told, took.Seconds())
	return sayFlows(ctx, o, db, out)
}

// sayFlows prints what the flows are and what they take.
func sayFlows(ctx context.Context, o options, db driver.Conn, out io.Writer) error {
	s, err := sizeOf(ctx, db, "flows")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %d cores, %s/%s, %s\n\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(out, "%s flows of seed %d: %d of 90 days of %s.\n", count(s.rows), o.seed, o.generated, count(float64(o.rows)))
	fmt.Fprintf(out, "On disk %.2f GB, octets a row: %.1f columns, %.1f indexes, %.1f projections, %.1f marks and primary index.\n", s.disk/1e9, s.data/s.rows, s.indexes/s.rows, s.projections/s.rows, s.marks/s.rows)
	return nil
}

// size of the active parts of a table, in octets.
type size struct{ rows, disk, data, indexes, projections, marks float64 }

func sizeOf(ctx context.Context, db driver.Conn, name string) (s size, err error) {
	err = db.QueryRow(ctx, `SELECT toFloat64(sum(rows)), toFloat64(sum(bytes_on_disk)), toFloat64(sum(data_compressed_bytes)),
			toFloat64(sum(secondary_indices_compressed_bytes + secondary_indices_marks_bytes)), toFloat64(sum(marks_bytes + primary_key_size)),
			(SELECT toFloat64(sum(bytes_on_disk)) FROM system.projection_parts WHERE active AND database = currentDatabase() AND table = @name)
		FROM system.parts WHERE active AND database = currentDatabase() AND table = @name`, clickhouse.Named("name", name)).
		Scan(&s.rows, &s.disk, &s.data, &s.indexes, &s.marks, &s.projections)
	if err != nil {
		return s, fmt.Errorf("size of %s: %w", name, err)
	}
	return s, nil
}

// count writes a number in thousands, for people: 1 234 567.
func count(n float64) string {
	digits := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}

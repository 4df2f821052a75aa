package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/flow"
)

var (
	//go:embed classes.tsv
	classesTSV string
	//go:embed sql/prepare.sql
	prepareSQL string
	//go:embed sql/generate.sql
	generateSQL string
)

// firstDay is where the ninety days begin, in days since 1970: 2026-01-01.
const firstDay = 20454

// shape of the network that flows are made for. At 100 million flows, hosts and
// names of the middle ranks have some hundred flows each.
type shape struct {
	seed                     uint64
	rows, days, hosts, names int
}

// identity are the columns of flows before those of the record.
var identity = []string{"probe", "site", "epoch", "worker", "seq", "row", "kafka_partition", "kafka_offset", "received"}

func allColumns() string {
	return strings.Join(append(append([]string{}, identity...), flow.ColumnNames()...), ", ")
}

// classes turns the table of classes into the expression that finds a record's
// class, and the list of shares.
func classes() (classOf, shares string) {
	var of strings.Builder
	var list []string
	of.WriteString("multiIf(")
	for line := range strings.Lines(strings.TrimSpace(classesTSV)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if f[0] == "class" {
			continue
		}
		list = append(list, fmt.Sprintf("('%s', %s)", f[0], f[1]))
		if f[2] == "1" {
			fmt.Fprintf(&of, "'%s')", f[0])
		} else {
			fmt.Fprintf(&of, "%s, '%s', ", f[2], f[0])
		}
	}
	return of.String(), "[" + strings.Join(list, ", ") + "]"
}

// prepare makes the tables that generate draws from.
func prepare(ctx context.Context, db driver.Conn, s shape) error {
	classOf, shares := classes()
	text := strings.NewReplacer("{class_of}", classOf, "{shares}", shares).Replace(prepareSQL)
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"seed": fmt.Sprint(s.seed), "names": fmt.Sprint(s.names)}))
	for statement := range strings.SplitSeq(text, ";") {
		if err := db.Exec(ctx, statement); err != nil {
			return fmt.Errorf("prepare templates: %w", err)
		}
	}
	return nil
}

// generatedRows bounds what an insert holds in memory.
const generatedRows = 2_000_000

// generate inserts the days [from, to) into a table, one insert a day, of one part
// for each generatedRows.
func generate(ctx context.Context, db driver.Conn, into string, s shape, from, to int) (time.Duration, error) {
	text := strings.NewReplacer("{into}", into, "{columns}", allColumns()).Replace(generateSQL)
	began := time.Now()
	for day := from; day < to; day++ {
		rows := s.rows/s.days + min(1, s.rows%s.days/(day+1))
		ctx := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{
			"seed": fmt.Sprint(s.seed), "names": fmt.Sprint(s.names), "hosts": fmt.Sprint(s.hosts),
			"day": fmt.Sprint(firstDay + day), "rows": fmt.Sprint(rows), "rate": fmt.Sprint(max(1, s.rows/s.days/86400)),
		}), clickhouse.WithSettings(clickhouse.Settings{
			"max_insert_block_size": generatedRows, "min_insert_block_size_rows": generatedRows, "min_insert_block_size_bytes": 16 << 30,
			"max_insert_threads": 1, "max_block_size": 1024, "max_partitions_per_insert_block": 0,
		}))
		if err := db.Exec(ctx, text); err != nil {
			return 0, fmt.Errorf("generate day %d: %w", day, err)
		}
	}
	return time.Since(began), nil
}

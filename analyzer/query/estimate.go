package query

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Estimate is what a statement would read, as ClickHouse's indexes tell before
// it runs.
type Estimate struct {
	Rows   uint64   `json:"rows" doc:"at most"`
	Marks  uint64   `json:"marks" doc:"granules of the tables; 0: the question is small, rows are all of its days"`
	Parts  uint64   `json:"parts" doc:"0 as marks"`
	Bytes  uint64   `json:"bytes" doc:"uncompressed, guessed from the types of the columns; 0: not told"`
	Tables []string `json:"tables"`
}

// Estimate asks what a statement would read; no row is read for it. width is the
// octets of a row, for the bytes; 0: those are not told.
func (a *Asker) Estimate(ctx context.Context, r Role, s Statement, width int) (Estimate, error) {
	var e Estimate
	settings := maps.Clone(a.settings[r])
	delete(settings, "max_rows_to_read") // it counts what is only estimated, too
	delete(settings, "max_bytes_to_read")
	err := a.each(ctx, r, settings, Statement{"EXPLAIN ESTIMATE " + s.SQL, s.Params}, func(rows driver.Rows) error {
		var database, table string
		var parts, n, marks uint64
		if err := rows.Scan(&database, &table, &parts, &n, &marks); err != nil {
			return err
		}
		e.Rows, e.Marks, e.Parts = e.Rows+n, e.Marks+marks, e.Parts+parts
		if !slices.Contains(e.Tables, table) {
			e.Tables = append(e.Tables, table)
		}
		return nil
	})
	if err != nil {
		return e, fmt.Errorf("estimate: %w", err)
	}
	e.Bytes = e.Rows * uint64(width)
	return e, nil
}

// widthOf guesses the octets of a value of a ClickHouse type in memory: texts
// and lists as the captures of the demo have them.
func widthOf(sql string) int {
	switch {
	case sql == "IPv6":
		return 16
	case len(sql) > 4 && sql[:4] == "UInt", len(sql) > 3 && sql[:3] == "Int":
		_, bits, _ := kindOf(sql)
		return bits / 8
	case sql == "Bool":
		return 1
	case sql == "Float32":
		return 4
	case len(sql) > 14 && sql[:14] == "LowCardinality":
		return 2
	case sql == "String":
		return 24
	case len(sql) > 5 && sql[:5] == "Array":
		return 32
	}
	return 8
}

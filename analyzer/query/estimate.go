package query

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Estimate is what a statement would read, as ClickHouse's indexes tell before
// it runs.
type Estimate struct {
	Rows   uint64   `json:"rows"`
	Marks  uint64   `json:"marks" doc:"granules of the tables"`
	Parts  uint64   `json:"parts"`
	Bytes  uint64   `json:"bytes" doc:"uncompressed, at most; 0: not known"`
	Tables []string `json:"tables"`
}

//go:embed sql/widths.sql
var widthsSQL string

// Estimate asks what a statement would read. columns are what it reads of the
// table flows and of the rollups, for the bytes; nil: those are not told.
func (a *Asker) Estimate(ctx context.Context, r Role, s Statement, columns []string) (Estimate, error) {
	var e Estimate
	var widths map[string]map[string]float64
	if columns != nil {
		widths = a.columnWidths(ctx)
	}
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
		for _, c := range columns {
			e.Bytes += uint64(widths[table][c] * float64(n))
		}
		return nil
	})
	if err != nil {
		return e, fmt.Errorf("estimate: %w", err)
	}
	return e, nil
}

// columnWidths are looked up once in a while; without them no bytes are told.
func (a *Asker) columnWidths(ctx context.Context) map[string]map[string]float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.asked) < 5*time.Minute {
		return a.widths
	}
	widths := map[string]map[string]float64{}
	err := a.Each(ctx, System, Statement{SQL: widthsSQL}, func(rows driver.Rows) error {
		var table, name string
		var width float64
		if err := rows.Scan(&table, &name, &width); err != nil {
			return err
		}
		if widths[table] == nil {
			widths[table] = map[string]float64{}
		}
		widths[table][name] = width
		return nil
	})
	if err == nil { // a user without the right to system tables is told rows only
		a.widths = widths
	}
	if ctx.Err() == nil {
		a.asked = time.Now()
	}
	return a.widths
}

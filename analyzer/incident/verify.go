package incident

import (
	"context"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Difference is a sub-score that an alert's evidence does not reproduce.
type Difference struct {
	Name   string
	Stored float64
	Now    float64 // NaN: the evidence does not have it
}

// Verify runs the stored SQL of an alert, which must give one row, and compares
// its columns with the sub-scores, within a millionth. No differences: the alert
// still stands on what is stored. Raw flows that retention has dropped make
// differences, or no row, which is an error.
func Verify(ctx context.Context, db detect.DB, a *alert.Alert) ([]Difference, error) {
	if !selects(a.EvidenceSQL) {
		return nil, fmt.Errorf("verify alert %s: its evidence is no question", a.ID)
	}
	got, n := map[string]float64{}, 0
	err := detect.Each(ctx, db, a.EvidenceSQL, a.EvidenceParams, func(rows driver.Rows) error {
		n++
		cells := make([]any, len(rows.Columns()))
		for i, c := range rows.ColumnTypes() {
			cells[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := rows.Scan(cells...); err != nil {
			return err
		}
		for i, name := range rows.Columns() {
			switch v := reflect.ValueOf(cells[i]).Elem(); {
			case v.CanFloat():
				got[name] = v.Float()
			case v.CanUint():
				got[name] = float64(v.Uint())
			case v.CanInt():
				got[name] = float64(v.Int())
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verify alert %s: %w", a.ID, err)
	}
	if n != 1 {
		return nil, fmt.Errorf("verify alert %s: its evidence has %d rows, not one", a.ID, n)
	}
	var list []Difference
	for _, name := range slices.Sorted(maps.Keys(a.SubScores)) {
		stored := a.SubScores[name]
		now, ok := got[name]
		if !ok {
			now = math.NaN()
		}
		if !(math.Abs(now-stored) <= 1e-6*max(1, math.Abs(stored))) {
			list = append(list, Difference{name, stored, now})
		}
	}
	return list, nil
}

// selects says whether a statement only asks; the server refuses writes as well.
func selects(sql string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(sql), "\n")
	word, _, _ = strings.Cut(word, " ")
	return strings.EqualFold(word, "SELECT") || strings.EqualFold(word, "WITH")
}

package enrich

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const (
	queryTimeout = 2 * time.Minute
	insertRows   = 100_000 // of one insert into a table of what is known
)

// stamp is how a DateTime64(3) goes into a parameter.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// filled is a table that holds one kind of what was read, as a whole.
type filled struct {
	name string
	kind string // of the sources that fill it
	rows func(*snapshot, func(...any) error) error
}

// tables that are filled. Each row ends with the time of the filling.
func tables() []filled {
	return []filled{
		{"networks", "networks", func(d *snapshot, row func(...any) error) error {
			for _, n := range d.nets {
				if err := row(n.Prefix.String(), n.Site, n.Name, n.Role); err != nil {
					return err
				}
			}
			return nil
		}},
		{"oui_vendors", "oui", func(d *snapshot, row func(...any) error) error {
			for _, v := range d.vendors {
				if err := row(v.key(), v.bits, v.name); err != nil {
					return err
				}
			}
			return nil
		}},
		{"indicators", "threats", func(d *snapshot, row func(...any) error) error {
			for _, l := range d.lists {
				for i := range l.indicators {
					x := &l.indicators[i]
					if err := row(x.kind.String(), x.value, l.name, x.confidence, time.Unix(int64(x.expires), 0).UTC()); err != nil {
						return err
					}
				}
			}
			return nil
		}},
		{"asns", "database", func(d *snapshot, row func(...any) error) error {
			said := map[uint32]bool{}
			for _, db := range d.databases {
				var failed error
				err := db.systems(func(asn uint32, name string) {
					if failed == nil && !said[asn] {
						said[asn], failed = true, row(asn, name)
					}
				})
				if failed != nil || err != nil {
					return fmt.Errorf("autonomous systems: %w", firstOf(failed, err))
				}
			}
			return nil
		}},
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// columnsOf the tables, without `updated`.
func (f filled) columns() string {
	return map[string]string{"networks": "prefix, site, name, role", "oui_vendors": "prefix, bits, vendor",
		"indicators": "kind, value, list, confidence, expires", "asns": "asn, name"}[f.name]
}

// fill brings a table to what was read, if it does not hold that already: new
// rows first, then the old ones go. Readers meanwhile see both. It may be
// repeated, and by two collectors at once.
func (k *keeper) fill(ctx context.Context, f filled, d *snapshot) error {
	sum := d.sums[f.kind]
	if sum == 0 || k.holds[f.name] == sum {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	var have uint64
	var last time.Time
	table := clickhouse.Named("table", f.name)
	if err := k.conn.QueryRow(ctx, "SELECT ifNull((SELECT version FROM enrich_state FINAL WHERE name = {table:String}), 0), (SELECT max(updated) FROM {table:Identifier})",
		table).Scan(&have, &last); err != nil {
		return fmt.Errorf("look at %s: %w", f.name, err)
	}
	if have == sum {
		k.holds[f.name] = sum
		return nil
	}
	now := k.e.now().UTC().Truncate(time.Millisecond)
	if !now.After(last) {
		now = last.Add(time.Millisecond)
	}
	w := writer{ctx: ctx, conn: k.conn, statement: "INSERT INTO " + f.name + " (" + f.columns() + ", updated)"}
	if err := f.rows(d, func(values ...any) error { return w.row(append(values, now)...) }); err != nil {
		return fmt.Errorf("fill %s: %w", f.name, errors.Join(err, w.abort()))
	}
	if err := w.send(); err != nil {
		return fmt.Errorf("fill %s: %w", f.name, err)
	}
	if err := k.conn.Exec(ctx, "DELETE FROM {table:Identifier} WHERE updated < {now:DateTime64(3, 'UTC')}", table, clickhouse.Named("now", stamp(now))); err != nil {
		return fmt.Errorf("remove old rows of %s: %w", f.name, err)
	}
	if err := k.state(ctx, f.name, sum, time.Unix(0, 0)); err != nil {
		return err
	}
	k.holds[f.name] = sum
	k.e.log.Info("filled a table", "table", f.name, "rows", w.total)
	return nil
}

// state notes what a table holds, or how far a task has come.
func (k *keeper) state(ctx context.Context, name string, version uint64, until time.Time) error {
	err := k.conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0})),
		"INSERT INTO enrich_state (name, version, until, updated) VALUES ({name:String}, {version:UInt64}, {until:DateTime64(3, 'UTC')}, now64(3))",
		clickhouse.Named("name", name), clickhouse.Named("version", version), clickhouse.Named("until", stamp(until)))
	if err != nil {
		return fmt.Errorf("note state of %s: %w", name, err)
	}
	return nil
}

// writer inserts rows in pieces.
type writer struct {
	ctx       context.Context
	conn      driver.Conn
	statement string
	batch     driver.Batch
	rows      int
	total     int
}

func (w *writer) row(values ...any) (err error) {
	if w.batch == nil {
		if w.batch, err = w.conn.PrepareBatch(w.ctx, w.statement); err != nil {
			return err
		}
	}
	if err := w.batch.Append(values...); err != nil {
		return err
	}
	w.rows++
	w.total++
	if w.rows < insertRows {
		return nil
	}
	return w.send()
}

func (w *writer) send() error {
	if w.batch == nil {
		return nil
	}
	b := w.batch
	w.batch, w.rows = nil, 0
	return b.Send()
}

func (w *writer) abort() error {
	if w.batch == nil {
		return nil
	}
	b := w.batch
	w.batch = nil
	return b.Abort()
}

package enrich

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// openKey is a workload at an address, since when if the feed says so.
type openKey struct {
	source, name, namespace string
	ip                      netip.Addr
	given                   int64 // ms since the epoch; 0 the feed does not say
}

// interval is a row of `workloads`.
type interval struct {
	workload
	source string
}

// refreshEvery is how often the end of those that are still there is written: so
// much of it a crash may forget.
const refreshEvery = 5 * time.Minute

// followWorkloads brings the table to what the feeds say: what has come begins,
// what has gone ends when it was seen last. Feeds that cannot be read end
// nothing.
func (k *keeper) followWorkloads(ctx context.Context, d *snapshot) error {
	if len(d.feeds) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if k.open == nil {
		if err := k.readOpen(ctx); err != nil {
			return err
		}
	}
	w := writer{ctx: clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0})), conn: k.conn,
		statement: "INSERT INTO workloads (source, ip, name, kind, namespace, node, from, to, open, updated)"}
	next := make(map[openKey]*interval, len(k.open))
	read := map[string]bool{}
	now := k.e.now().UTC()
	put := func(i *interval, open bool) error {
		return w.row(i.source, i.ip.As16(), i.name, i.kind, i.namespace, i.node, i.from, i.to, open, now)
	}
	for _, f := range d.feeds {
		read[f.name] = true
		again := now.Sub(k.written[f.name]) >= refreshEvery
		for _, x := range f.list {
			key := openKey{f.name, x.name, x.namespace, x.ip, 0}
			if !x.from.IsZero() {
				key.given = x.from.UnixMilli()
			}
			i := k.open[key]
			isNew := i == nil
			if isNew {
				i = &interval{workload: x, source: f.name}
				if x.from.IsZero() {
					i.from = f.polled.UTC()
				}
			}
			changed := isNew || i.kind != x.kind || i.node != x.node
			i.kind, i.node = x.kind, x.node
			ended := !x.to.IsZero() && !x.to.After(now)
			if x.to.IsZero() || !ended {
				i.to = f.polled.UTC()
			} else {
				changed = changed || !i.to.Equal(x.to)
				i.to = x.to
			}
			next[key] = i
			if changed || again && !ended {
				if err := put(i, !ended); err != nil {
					return fmt.Errorf("write workloads: %w", err)
				}
			}
		}
		if again {
			k.written[f.name] = now
		}
	}
	for key, i := range k.open {
		switch _, there := next[key]; {
		case there:
		case read[key.source]:
			if err := put(i, false); err != nil {
				return fmt.Errorf("write workloads: %w", err)
			}
		default:
			next[key] = i // its feed says nothing at present
		}
	}
	if err := w.send(); err != nil {
		return fmt.Errorf("write workloads: %w", err)
	}
	k.open = next
	return nil
}

// readOpen finds what was there when this process began to lead.
func (k *keeper) readOpen(ctx context.Context) error {
	rows, err := k.conn.Query(ctx, "SELECT source, ip, name, kind, namespace, node, from, to FROM workloads FINAL WHERE open")
	if err != nil {
		return fmt.Errorf("look at workloads: %w", err)
	}
	defer rows.Close()
	all := map[openKey]*interval{}
	for rows.Next() {
		var i interval
		if err := rows.Scan(&i.source, &i.ip, &i.name, &i.kind, &i.namespace, &i.node, &i.from, &i.to); err != nil {
			return fmt.Errorf("look at workloads: %w", err)
		}
		i.ip = i.ip.Unmap()
		// Whether the feed gave its begin is not noted: both keys find it.
		all[openKey{i.source, i.name, i.namespace, i.ip, 0}] = &i
		all[openKey{i.source, i.name, i.namespace, i.ip, i.from.UnixMilli()}] = &i
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look at workloads: %w", err)
	}
	k.open = all
	return nil
}

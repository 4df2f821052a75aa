package retain

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// Hold keeps days of traffic from retention and erasure. Days are UTC, of flow starts.
type Hold struct {
	ID          string
	First, Last time.Time // days, inclusive
	Reason      string
	Owner       string
	Created     time.Time
	Released    time.Time // zero: it holds
}

// ErrHeld: what was asked for touches days on hold.
var ErrHeld = errors.New("on legal hold")

// Place puts days on hold and returns the hold with its ID. It counts from the
// next look of the collector that keeps retention, within a minute.
func Place(ctx context.Context, conn driver.Conn, h Hold) (Hold, error) {
	if h.Last.Before(h.First) {
		return h, errors.New("hold: the last day is before the first")
	}
	if h.Reason == "" || h.Owner == "" {
		return h, kit.Hint(errors.New("hold: reason or owner is missing"), "who will want to release it needs to know")
	}
	h.ID, h.Created, h.Released = rand.Text()[:12], time.Now().UTC(), time.Time{}
	return h, writeHold(ctx, conn, h, 1)
}

// Release ends a hold.
func Release(ctx context.Context, conn driver.Conn, id string) error {
	all, err := Holds(ctx, conn, true)
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.ID == id {
			h.Released = time.Now().UTC()
			return writeHold(ctx, conn, h, 2)
		}
	}
	return kit.Hint(fmt.Errorf("hold %s: not there, or released before", id), "collector hold list shows them")
}

func writeHold(ctx context.Context, conn driver.Conn, h Hold, version uint64) error {
	err := conn.Exec(ctx, "INSERT INTO holds (id, first_day, last_day, reason, owner, created, released, version) SETTINGS async_insert = 0 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		h.ID, h.First.Format(layoutDay), h.Last.Format(layoutDay), h.Reason, h.Owner, millis(h.Created), millis(h.Released), version)
	if err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	return nil
}

// Holds returns the holds in order of their making: all, or those in force.
func Holds(ctx context.Context, conn driver.Conn, inForce bool) ([]Hold, error) {
	rows, err := conn.Query(ctx, "SELECT id, first_day, last_day, reason, owner, created, released FROM holds FINAL WHERE NOT ? OR toUnixTimestamp64Milli(released) = 0 ORDER BY created, id", inForce)
	if err != nil {
		return nil, fmt.Errorf("read holds: %w", err)
	}
	defer rows.Close()
	var all []Hold
	for rows.Next() {
		var h Hold
		if err := rows.Scan(&h.ID, &h.First, &h.Last, &h.Reason, &h.Owner, &h.Created, &h.Released); err != nil {
			return nil, fmt.Errorf("read holds: %w", err)
		}
		if h.Released.Unix() == 0 {
			h.Released = time.Time{}
		}
		all = append(all, h)
	}
	return all, rows.Err()
}

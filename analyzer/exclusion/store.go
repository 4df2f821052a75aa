package exclusion

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed list.sql
var listSQL string

//go:embed history.sql
var historySQL string

// ErrUnknown: there is no exclusion of that id, or it is removed.
var ErrUnknown = errors.New("there is no such exclusion")

// Store keeps exclusions in the table exclusions, to which rows are only added:
// it is their audit trail as well. The methods are safe for concurrent use.
type Store struct {
	conn driver.Conn
	now  func() time.Time
}

// NewStore returns a Store on conn, which stays the caller's.
func NewStore(conn driver.Conn) *Store { return &Store{conn: conn, now: time.Now} }

// List returns the newest revision of every exclusion, removed and expired ones
// included, by id.
func (s *Store) List(ctx context.Context) ([]Exclusion, error) { return s.read(ctx, listSQL) }

// History returns all that was done to one exclusion, earliest first.
func (s *Store) History(ctx context.Context, id string) ([]Exclusion, error) {
	return s.read(ctx, historySQL, clickhouse.Named("id", id))
}

// Put stores e, by whom, as a new exclusion if e.ID is empty, else as its newest
// revision, and returns it as stored. It is in force within a minute.
func (s *Store) Put(ctx context.Context, who string, e Exclusion) (Exclusion, error) {
	if err := e.Check(); err != nil {
		return e, err
	}
	e.Who, e.Action, e.Revision = who, Created, 1
	if e.ID == "" {
		e.ID = rand.Text()[:12]
	} else {
		old, err := s.get(ctx, e.ID)
		if err != nil {
			return e, err
		}
		e.Action, e.Revision = Changed, old.Revision+1
	}
	return s.write(ctx, e)
}

// Remove ends an exclusion, by whom and why: what it hid comes back within a
// minute.
func (s *Store) Remove(ctx context.Context, who, id, why string) (Exclusion, error) {
	e, err := s.get(ctx, id)
	if err != nil {
		return e, err
	}
	e.Who, e.Action, e.Revision = who, Removed, e.Revision+1
	if why != "" {
		e.Comment = why
	}
	return s.write(ctx, e)
}

func (s *Store) get(ctx context.Context, id string) (Exclusion, error) {
	list, err := s.History(ctx, id)
	if err != nil {
		return Exclusion{}, err
	}
	if len(list) == 0 || list[len(list)-1].Action == Removed {
		return Exclusion{}, fmt.Errorf("exclusion %s: %w", id, ErrUnknown)
	}
	return list[len(list)-1], nil
}

func (s *Store) write(ctx context.Context, e Exclusion) (Exclusion, error) {
	e.At = s.now().UTC().Truncate(time.Millisecond)
	expires := time.Unix(0, 0)
	if !e.Expires.IsZero() {
		e.Expires = e.Expires.UTC().Truncate(time.Second)
		expires = e.Expires
	}
	networks := []string{}
	for _, n := range e.Networks {
		networks = append(networks, n.String())
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := s.conn.PrepareBatch(ctx, `INSERT INTO exclusions (id, revision, at, who, action, detectors, networks, side, names, ports, ja4, direction, owner, comment, expires)`)
	if err != nil {
		return e, fmt.Errorf("store exclusion: %w", err)
	}
	err = batch.Append(e.ID, e.Revision, e.At, e.Who, e.Action, list(e.Detectors), networks, e.Side, list(e.Names), list(e.Ports), list(e.JA4), e.Direction, e.Owner, e.Comment, expires)
	if err != nil {
		return e, errors.Join(fmt.Errorf("store exclusion: %w", err), batch.Abort())
	}
	if err := batch.Send(); err != nil {
		return e, fmt.Errorf("store exclusion: %w", err)
	}
	return e, nil
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func (s *Store) read(ctx context.Context, sql string, args ...any) ([]Exclusion, error) {
	rows, err := s.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read exclusions: %w", err)
	}
	defer rows.Close()
	var all []Exclusion
	for rows.Next() {
		var e Exclusion
		var networks []string
		err := rows.Scan(&e.ID, &e.Revision, &e.At, &e.Who, &e.Action, &e.Detectors, &networks, &e.Side, &e.Names, &e.Ports, &e.JA4, &e.Direction, &e.Owner, &e.Comment, &e.Expires)
		if err != nil {
			return nil, fmt.Errorf("read exclusions: %w", err)
		}
		if e.Expires.Unix() == 0 {
			e.Expires = time.Time{}
		}
		for _, text := range networks {
			n, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("read exclusion %s: %w", e.ID, err)
			}
			e.Networks = append(e.Networks, n)
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

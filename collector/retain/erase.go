package retain

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit"
	kitclickhouse "github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// Kinds of subjects.
const (
	Address = "address" // of a host, on either side
	User    = "user"    // as protocols told it
	Name    = "name"    // of a host: server name, DNS name, HTTP host
)

// Subject is whose data goes.
type Subject struct{ Kind, Value string }

// Erasure is what became of an order to erase.
type Erasure struct {
	ID       string
	Kind     string
	Salt     string
	Hash     string // see Subject.hash
	Reason   string
	Owner    string
	Begun    time.Time
	Finished time.Time         // zero: not to the end
	Rows     map[string]uint64 // erased, by table
}

func (s Subject) check() error {
	switch s.Kind {
	case Address:
		if _, err := netip.ParseAddr(s.Value); err != nil {
			return fmt.Errorf("erase: %w", err)
		}
	case User, Name:
		if s.Value == "" {
			return fmt.Errorf("erase: the %s is empty", s.Kind)
		}
	default:
		return kit.Hint(fmt.Errorf("erase: kind %q", s.Kind), "address, user or name")
	}
	return nil
}

// hash lets whoever knows the subject find its erasure, and nobody else.
func (s Subject) hash(salt string) string {
	sum := sha256.Sum256([]byte(salt + s.Kind + "\x00" + s.Value))
	return hex.EncodeToString(sum[:])
}

// Concerns says whether e erased s.
func (e Erasure) Concerns(s Subject) bool { return e.Kind == s.Kind && e.Hash == s.hash(e.Salt) }

// kept are tables that never lose rows to an erasure: they hold nobody's data,
// or are what the operator has given.
var kept = []string{"schema_migrations", "batches", "rollup_builds", "days_received", "storage_samples", "retention_log", "holds", "erasures", "rollup_covers", "rollup_secondary",
	"job_runs", "networks", "indicators", "oui_vendors", "asns", "enrich_state", "workloads", "exclusions", "leases"}

// named are the columns that hold a user's or host's name. Addresses are known
// by their type.
var named = map[string][]string{
	User: {"user", "users"},
	Name: {"tls_sni", "sni", "http_host", "dns_names", "app_host", "name", "names", "host_name"},
}

// textual columns hold the text of any kind of subject; entities role=text.
var textual = []string{"value", "actor", "victim", "dns_answers", "entities"}

// target is what goes of one table.
type target struct {
	table string
	where string // made of column names of the database, and the parameters subject and text
}

// Erase removes all rows that tell of s, from raw and all that was made of it,
// and verifies that none is left. Rows on hold make it fail with ErrHeld before
// anything is done. What an Erase that failed has not erased, another one does.
// Kafka, probes' spools, kept packets and backups have their own retention.
func Erase(ctx context.Context, conn driver.Conn, s Subject, owner, reason string) (Erasure, error) {
	if err := s.check(); err != nil {
		return Erasure{}, err
	}
	if reason == "" || owner == "" {
		return Erasure{}, kit.Hint(errors.New("erase: reason or owner is missing"), "both stand in the record of the erasure")
	}
	e := Erasure{ID: rand.Text()[:12], Kind: s.Kind, Salt: rand.Text(), Reason: reason, Owner: owner, Begun: time.Now().UTC(), Rows: map[string]uint64{}}
	e.Hash = s.hash(e.Salt)
	targets, err := targets(ctx, conn, s)
	if err != nil {
		return e, err
	}
	if err := unheld(ctx, conn, s, targets); err != nil {
		return e, err
	}
	if err := writeErasure(ctx, conn, e, 1); err != nil {
		return e, err
	}
	for i, t := range targets {
		if err := e.erase(ctx, conn, s, t); err != nil {
			return e, errors.Join(err, writeErasure(context.WithoutCancel(ctx), conn, e, uint64(2+i)))
		}
	}
	e.Finished = time.Now().UTC()
	return e, writeErasure(ctx, conn, e, uint64(2+len(targets)))
}

// parameters of the conditions.
func (s Subject) parameters(ctx context.Context, settings clickhouse.Settings) context.Context {
	address := s.Value
	if s.Kind != Address {
		address = "::"
	}
	return clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"subject": address, "text": kitclickhouse.Text(s.Value)}), clickhouse.WithSettings(settings))
}

func (e *Erasure) erase(ctx context.Context, conn driver.Conn, s Subject, t target) error {
	count := func() (n uint64, err error) {
		err = conn.QueryRow(s.parameters(ctx, nil), "SELECT count() FROM "+kitclickhouse.Identifier(t.table)+" WHERE "+t.where).Scan(&n)
		return n, err
	}
	n, err := count()
	if err != nil {
		return fmt.Errorf("look for rows of %s: %w", t.table, err)
	}
	if n == 0 {
		return nil
	}
	// Not a lightweight delete: the octets themselves have to go.
	if err := conn.Exec(s.parameters(ctx, clickhouse.Settings{"mutations_sync": 2}), "ALTER TABLE "+kitclickhouse.Identifier(t.table)+" DELETE WHERE "+t.where); err != nil {
		return fmt.Errorf("erase from %s: %w", t.table, err)
	}
	left, err := count()
	if err != nil {
		return fmt.Errorf("look for rows of %s: %w", t.table, err)
	}
	e.Rows[t.table] = n - min(left, n)
	if left > 0 {
		return kit.Hint(fmt.Errorf("erase from %s: %d rows are left, or have come since", t.table, left), "erase again")
	}
	return nil
}

// targets finds the tables and columns that may tell of s, as the database has
// them now: tables of later versions are found by the types and names of their
// columns too.
func targets(ctx context.Context, conn driver.Conn, s Subject) ([]target, error) {
	rows, err := conn.Query(ctx, `SELECT c.table, c.name, c.type FROM system.columns AS c
		INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
		WHERE c.database = currentDatabase() AND t.engine LIKE '%MergeTree' AND c.default_kind NOT IN ('ALIAS', 'EPHEMERAL') AND c.table NOT IN ?
		ORDER BY c.table = 'flows' DESC, c.table, c.position`, kept)
	if err != nil {
		return nil, fmt.Errorf("list columns: %w", err)
	}
	defer rows.Close()
	var list []target
	for rows.Next() {
		var table, column, kind string
		if err := rows.Scan(&table, &column, &kind); err != nil {
			return nil, fmt.Errorf("list columns: %w", err)
		}
		term := condition(s.Kind, column, kind)
		if term == "" {
			continue
		}
		if n := len(list); n > 0 && list[n-1].table == table {
			list[n-1].where += " OR " + term
		} else {
			list = append(list, target{table, term})
		}
	}
	return list, rows.Err()
}

// condition is how a column tells of a subject of this kind, "" not at all.
func condition(kind, column, typ string) string {
	q := kitclickhouse.Identifier(column)
	array := strings.HasPrefix(typ, "Array(")
	switch {
	case kind == Address && typ == "IPv6":
		return q + " = toIPv6({subject:String})"
	case kind == Address && typ == "Array(IPv6)":
		return "has(" + q + ", toIPv6({subject:String}))"
	case !strings.Contains(typ, "String") || strings.HasPrefix(typ, "Map(") || strings.Contains(typ, "AggregateFunction("):
		return ""
	case column == "entities" && array:
		return "arrayExists(e -> endsWith(e, concat('=', {text:String})), " + q + ")"
	case !slices.Contains(textual, column) && !slices.Contains(named[kind], column):
		return ""
	case array:
		return "has(" + q + ", {text:String})"
	}
	return q + " = {text:String}"
}

// unheld fails if flows of s are on hold.
func unheld(ctx context.Context, conn driver.Conn, s Subject, targets []target) error {
	holds, err := Holds(ctx, conn, true)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if t.table != "flows" {
			continue
		}
		for _, h := range holds {
			var n uint64
			err := conn.QueryRow(s.parameters(ctx, nil), "SELECT count() FROM flows WHERE ("+t.where+") AND toDate(start) BETWEEN '"+
				h.First.Format(layoutDay)+"' AND '"+h.Last.Format(layoutDay)+"'").Scan(&n)
			if err != nil {
				return fmt.Errorf("look for rows on hold: %w", err)
			}
			if n > 0 {
				return kit.Hint(fmt.Errorf("erase: %d flows are within hold %s (%s): %w", n, h.ID, h.Reason, ErrHeld), "release the hold first, if its owner agrees")
			}
		}
	}
	return nil
}

func writeErasure(ctx context.Context, conn driver.Conn, e Erasure, version uint64) error {
	err := conn.Exec(ctx, "INSERT INTO erasures (id, kind, salt, hash, reason, owner, begun, finished, rows, version) SETTINGS async_insert = 0 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		e.ID, e.Kind, e.Salt, e.Hash, e.Reason, e.Owner, millis(e.Begun), millis(e.Finished), e.Rows, version)
	if err != nil {
		return fmt.Errorf("write erasures: %w", err)
	}
	return nil
}

// Erasures returns all orders to erase, in order of time.
func Erasures(ctx context.Context, conn driver.Conn) ([]Erasure, error) {
	rows, err := conn.Query(ctx, "SELECT id, kind, salt, hash, reason, owner, begun, finished, rows FROM erasures FINAL ORDER BY begun, id")
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	defer rows.Close()
	var all []Erasure
	for rows.Next() {
		var e Erasure
		if err := rows.Scan(&e.ID, &e.Kind, &e.Salt, &e.Hash, &e.Reason, &e.Owner, &e.Begun, &e.Finished, &e.Rows); err != nil {
			return nil, fmt.Errorf("read erasures: %w", err)
		}
		if e.Finished.Unix() == 0 {
			e.Finished = time.Time{}
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

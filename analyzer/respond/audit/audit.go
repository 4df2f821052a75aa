// Package audit keeps who did what in the table audit_log, to which rows are only
// added. Each entry holds the hash of the one before, so that one that is changed,
// left out or put in between is noticed (Verify); what is cut from the end is
// noticed by whoever has noted the newest hash, which is logged with each entry.
package audit

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

var (
	//go:embed newest.sql
	newestSQL string
	//go:embed list.sql
	listSQL string
)

// Entry is one thing that was done.
type Entry struct {
	Seq    uint64    `json:"seq"` // from 1, without gaps
	At     time.Time `json:"at"`  // milliseconds, UTC
	Who    string    `json:"who"`
	Action string    `json:"action"` // such as respond.request
	Object string    `json:"object"` // what it was about
	Detail string    `json:"detail"` // JSON
	Prev   string    `json:"prev"`   // Hash of the entry before, of the first: empty
	Hash   string    `json:"hash"`
}

// Sum is the hash of e: SHA-256 over its fields, each after its length.
func (e *Entry) Sum() string {
	h := sha256.New()
	for _, f := range []string{e.Prev, strconv.FormatUint(e.Seq, 10), strconv.FormatInt(e.At.UnixMilli(), 10), e.Who, e.Action, e.Object, e.Detail} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		h.Write(n[:])
		h.Write([]byte(f))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ErrTampered: the chain does not hold.
var ErrTampered = errors.New("the audit log was changed")

const (
	// maxTries bounds the tokens of one number, and the numbers that others took
	// before us.
	maxTries = 40
	// settle is how long a row may be on its way after its token was taken.
	settle = 300 * time.Millisecond
	page   = 1000
)

// Log appends to the table and reads it. Several processes may append at the same
// time; the methods are safe for concurrent use.
type Log struct {
	conn driver.Conn
	log  *slog.Logger
	now  func() time.Time
	mu   sync.Mutex
}

// New returns a Log on conn, which stays the caller's.
func New(conn driver.Conn, log *slog.Logger) *Log { return &Log{conn: conn, log: log, now: time.Now} }

// Append stores that who did something, with details as JSON. When it returns an
// error, the thing is not to be done.
func (l *Log) Append(ctx context.Context, who, action, object string, detail any) (Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text, err := json.Marshal(detail)
	if err != nil {
		return Entry{}, fmt.Errorf("append to audit log: %w", err)
	}
	token := 0
	var last uint64
	for range maxTries {
		newest, err := l.newest(ctx)
		if err != nil {
			return Entry{}, err
		}
		if newest.Seq != last {
			token, last = 0, newest.Seq
		}
		e := Entry{Seq: newest.Seq + 1, At: l.now().UTC().Truncate(time.Millisecond), Who: who, Action: action, Object: object, Detail: string(text), Prev: newest.Hash}
		e.Hash = e.Sum()
		if err := l.insert(ctx, e, token); err != nil {
			return Entry{}, err
		}
		won, there, err := l.won(ctx, e)
		if err != nil {
			return Entry{}, err
		}
		if won {
			l.log.Info("audit", "seq", e.Seq, "who", who, "action", action, "object", object, "hash", e.Hash)
			return e, nil
		}
		if !there {
			token++ // was taken by an insert whose row never came: the server died in between
		}
	}
	return Entry{}, fmt.Errorf("append to audit log: others were faster %d times", maxTries)
}

// won says whether e is the entry of its number, and whether there is one.
func (l *Log) won(ctx context.Context, e Entry) (won, there bool, err error) {
	for i := range 4 {
		if i > 0 {
			select {
			case <-ctx.Done():
				return false, false, ctx.Err()
			case <-time.After(settle):
			}
		}
		list, err := l.read(ctx, e.Seq-1, 1)
		if err != nil {
			return false, false, err
		}
		if len(list) > 0 && list[0].Seq == e.Seq {
			return list[0].Hash == e.Hash, true, nil
		}
	}
	return false, false, nil
}

func (l *Log) insert(ctx context.Context, e Entry, token int) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "insert_deduplicate": 1,
		"insert_deduplication_token": fmt.Sprintf("audit/%d/%d", e.Seq, token)}))
	batch, err := l.conn.PrepareBatch(ctx, "INSERT INTO audit_log (seq, at, who, action, object, detail, prev, hash)")
	if err != nil {
		return fmt.Errorf("append to audit log: %w", err)
	}
	if err := batch.Append(e.Seq, e.At, e.Who, e.Action, e.Object, e.Detail, e.Prev, e.Hash); err != nil {
		return errors.Join(fmt.Errorf("append to audit log: %w", err), batch.Abort())
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("append to audit log: %w", err)
	}
	return nil
}

func (l *Log) newest(ctx context.Context) (Entry, error) {
	list, err := l.query(ctx, newestSQL)
	if err != nil || len(list) == 0 {
		return Entry{}, err
	}
	return list[0], nil
}

func (l *Log) read(ctx context.Context, after uint64, limit int) ([]Entry, error) {
	return l.query(ctx, listSQL, clickhouse.Named("after", strconv.FormatUint(after, 10)), clickhouse.Named("limit", strconv.Itoa(limit)))
}

// List returns up to limit entries after the one of this number, in order.
func (l *Log) List(ctx context.Context, after uint64, limit int) ([]Entry, error) {
	return l.read(ctx, after, max(1, min(limit, page)))
}

// Verify walks the whole chain and returns how many entries hold and the newest of
// them. The error is ErrTampered with the number of the first that does not.
func (l *Log) Verify(ctx context.Context) (n uint64, newest Entry, err error) {
	for {
		list, err := l.read(ctx, newest.Seq, page)
		if err != nil {
			return n, newest, err
		}
		for _, e := range list {
			switch {
			case e.Seq != newest.Seq+1:
				return n, newest, fmt.Errorf("audit log entry %d: follows %d: %w", e.Seq, newest.Seq, ErrTampered)
			case e.Prev != newest.Hash:
				return n, newest, fmt.Errorf("audit log entry %d: does not follow the one before: %w", e.Seq, ErrTampered)
			case e.Hash != e.Sum():
				return n, newest, fmt.Errorf("audit log entry %d: is not what was written: %w", e.Seq, ErrTampered)
			}
			n, newest = n+1, e
		}
		if len(list) < page {
			// A twin right behind the border of a page is in no page.
			var rows uint64
			if err := l.conn.QueryRow(ctx, "SELECT count() FROM audit_log WHERE seq <= {last:UInt64}", clickhouse.Named("last", strconv.FormatUint(newest.Seq, 10))).Scan(&rows); err != nil {
				return n, newest, fmt.Errorf("read audit log: %w", err)
			}
			if rows != n {
				return n, newest, fmt.Errorf("audit log: %d entries have %d numbers: %w", rows, n, ErrTampered)
			}
			return n, newest, nil
		}
	}
}

func (l *Log) query(ctx context.Context, sql string, args ...any) ([]Entry, error) {
	rows, err := l.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	defer rows.Close()
	var list []Entry
	for rows.Next() {
		var e Entry
		if err := rows.Scan(&e.Seq, &e.At, &e.Who, &e.Action, &e.Object, &e.Detail, &e.Prev, &e.Hash); err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		e.At = e.At.UTC()
		list = append(list, e)
	}
	return list, rows.Err()
}

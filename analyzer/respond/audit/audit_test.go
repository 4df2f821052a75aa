package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// S10: entries of several processes make one chain, and what is changed, left out
// or put in between is noticed.
func TestChain(t *testing.T) {
	conn := localtest.Tables(t)
	quiet := slog.New(slog.DiscardHandler)
	if n, _, err := New(conn, quiet).Verify(t.Context()); n != 0 || err != nil {
		t.Fatalf("empty log: %d entries, %v", n, err)
	}
	const writers, each = 3, 4
	var wg sync.WaitGroup
	for w := range writers {
		l := New(conn, quiet)
		wg.Go(func() {
			for i := range each {
				if _, err := l.Append(t.Context(), fmt.Sprintf("user%d", w), "test.do", fmt.Sprint(i), map[string]string{"text": "a\nb\x00'\\"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l := New(conn, quiet)
	n, newest, err := l.Verify(t.Context())
	if err != nil || n != writers*each || newest.Seq != writers*each {
		t.Fatalf("%d entries hold up to %d, want %d: %v", n, newest.Seq, writers*each, err)
	}
	list, err := l.List(t.Context(), 4, 2)
	if err != nil || len(list) != 2 || list[0].Seq != 5 {
		t.Fatalf("list after 4: %+v, %v", list, err)
	}
	for _, tt := range []struct{ name, change, back string }{
		{"who is changed", "ALTER TABLE audit_log UPDATE who = 'other' WHERE seq = 5 SETTINGS mutations_sync = 2", "ALTER TABLE audit_log UPDATE who = '" + list[0].Who + "' WHERE seq = 5 SETTINGS mutations_sync = 2"},
		{"a twin", "INSERT INTO audit_log SELECT * REPLACE ('other' AS who) FROM audit_log WHERE seq = 12", "ALTER TABLE audit_log DELETE WHERE seq = 12 AND who = 'other' SETTINGS mutations_sync = 2"},
		{"the end cut and made anew", "ALTER TABLE audit_log UPDATE hash = 'ff' WHERE seq = 12 SETTINGS mutations_sync = 2", "ALTER TABLE audit_log UPDATE hash = '" + newest.Hash + "' WHERE seq = 12 SETTINGS mutations_sync = 2"},
		{"one is left out", "ALTER TABLE audit_log DELETE WHERE seq = 7 SETTINGS mutations_sync = 2", ""},
	} {
		localtest.Exec(t, conn, tt.change)
		if _, _, err := l.Verify(t.Context()); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.back == "" {
			continue
		}
		localtest.Exec(t, conn, tt.back)
		if _, _, err := l.Verify(t.Context()); err != nil {
			t.Errorf("%s, put right again: %v", tt.name, err)
		}
	}
}

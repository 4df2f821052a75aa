package lease

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// clock is a clock of a process, which a test moves.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

// Only a process that is surely no more is not waited for.
func TestDead(t *testing.T) {
	if place() == "" {
		t.Skip("no /proc: nothing is known to be dead")
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Skip(err)
	}
	gone := cmd.Process.Pid
	for name, want := range map[string]bool{
		fmt.Sprintf("h/%d/%s/x", gone, place()):         true,
		fmt.Sprintf("h/%d/%s/x", os.Getppid(), place()): false,
		fmt.Sprintf("h/%d/%s/x", os.Getpid(), place()):  false,
		fmt.Sprintf("h/%d/elsewhere/x", gone):           false,
		fmt.Sprintf("h/%d//x", gone):                    false,
		"":                                              false, "a": false, "h/-1/" + place() + "/x": false,
		holder(): false,
	} {
		if got := dead(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLease(t *testing.T) {
	conn := localtest.Tables(t)
	ctx := context.Background()
	logger := slog.New(slog.DiscardHandler)
	make := func(name, holder string, length time.Duration) (*Lease, *clock) {
		c := &clock{}
		l := New(Config{Length: length, Holder: holder}, name, conn, logger, nil)
		l.now = c.now
		return l, c
	}
	try := func(t *testing.T, l *Lease) {
		t.Helper()
		if err := l.try(ctx); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("one of many wins each term", func(t *testing.T) {
		var all []*Lease
		for i := range 8 {
			l, _ := make("many", fmt.Sprint("p", i), time.Minute)
			all = append(all, l)
		}
		var wg sync.WaitGroup
		for _, l := range all {
			wg.Go(func() {
				for range 3 {
					if err := l.try(ctx); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		held := 0
		for _, l := range all {
			if l.Held() {
				held++
			}
		}
		if held != 1 {
			t.Errorf("%d hold it", held)
		}
		localtest.Expect(t, conn, "SELECT toUInt64(count() - uniqExact(term, beat)) FROM leases WHERE name = 'many'", 0)
		localtest.Expect(t, conn, "SELECT uniqExact(holder) FROM leases WHERE name = 'many'", 1)
	})

	t.Run("given back", func(t *testing.T) {
		a, _ := make("back", "a", time.Hour)
		b, _ := make("back", "b", time.Hour)
		try(t, a)
		try(t, b)
		if !a.Held() || b.Held() {
			t.Fatalf("a %v, b %v", a.Held(), b.Held())
		}
		if err := a.release(ctx); err != nil {
			t.Fatal(err)
		}
		try(t, b)
		try(t, a)
		if a.Held() || !b.Held() || b.Term() != 2 {
			t.Errorf("a %v, b %v in term %d", a.Held(), b.Held(), b.Term())
		}
	})

	t.Run("the holder stops by its own clock, before others begin", func(t *testing.T) {
		a, clockA := make("out", "a", time.Hour)
		b, _ := make("out", "b", time.Hour)
		try(t, a)
		clockA.pass(time.Hour + time.Millisecond)
		if a.Held() {
			t.Error("it holds what has run out")
		}
		// What is past by the clock of the server is taken, by one alone.
		localtest.Exec(t, conn, "INSERT INTO leases (name, term, beat, holder, until) SELECT 'out', 1, 1, 'a', now64(3) - INTERVAL 29 MINUTE")
		try(t, b)
		if b.Held() {
			t.Error("it is taken within the grace")
		}
		localtest.Exec(t, conn, "INSERT INTO leases (name, term, beat, holder, until) SELECT 'out', 1, 2, 'a', now64(3) - INTERVAL 31 MINUTE")
		try(t, b)
		try(t, a)
		if !b.Held() || a.Held() {
			t.Errorf("a %v, b %v", a.Held(), b.Held())
		}
	})

	t.Run("a token whose row was lost", func(t *testing.T) {
		a, _ := make("poisoned", "a", time.Hour)
		if err := a.claim(ctx, 1, 0); err != nil {
			t.Fatal(err)
		}
		localtest.Exec(t, conn, "DELETE FROM leases WHERE name = 'poisoned'")
		b, _ := make("poisoned", "b", time.Hour)
		try(t, b)
		if !b.Held() || b.Term() != 2 {
			t.Errorf("b %v in term %d", b.Held(), b.Term())
		}
	})
}

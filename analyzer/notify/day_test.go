package notify

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// moody is an HTTP server that is out of order for a day in every way there is,
// and remembers what it has taken, by key.
type moody struct {
	t    *testing.T
	mu   sync.Mutex
	well bool
	n    int // requests
	took map[string]int
	body map[string]string
}

func (m *moody) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	key := req.Header.Get("Idempotency-Key")
	m.mu.Lock()
	m.n++
	mood := m.n % 6
	if m.well {
		mood = -1
	}
	if before, again := m.body[key]; again && before != string(body) {
		m.t.Errorf("%s: a repetition is another message", key)
	}
	m.body[key] = string(body)
	if mood == -1 || mood == 5 {
		m.took[key]++
	}
	m.mu.Unlock()
	switch mood {
	case -1:
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	case 0:
		_, _ = io.WriteString(conn, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	case 1: // hangs until the sender has gone
		_, _ = conn.Read(make([]byte, 1))
	case 2: // an octet now and then
		for {
			if _, err := io.WriteString(conn, "H"); err != nil {
				return
			}
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				return
			}
		}
	case 3:
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset
	case 4:
		_, _ = io.WriteString(conn, "HTTP/1.1 503 Later\r\nRetry-After: 1200\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	case 5: // takes it, and the answer is lost
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
}

// R26: an endpoint is out of order for almost a day, with restarts in between. Then
// it has every alert at its newest revision, and none twice under another key.
func TestDayOfFailure(t *testing.T) {
	conn, _ := connect(t, "notify_day")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &moody{t: t, took: map[string]int{}, body: map[string]string{}}
	var g sync.WaitGroup
	defer g.Wait()
	defer l.Close()
	g.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.Go(func() { m.serve(c) })
		}
	})
	cfg := quick("http://" + l.Addr().String())
	cfg.RetryMin, cfg.RetryMax, cfg.GiveUpAfter, cfg.GiveUpAttempts = 5*time.Second, 2*time.Hour, 24*time.Hour, 5
	cfg.Webhooks[0].Timeout = 200 * time.Millisecond
	fresh := func(now *time.Time) *Notifier {
		n, err := New(cfg, conn, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		n.sinks[0].clock = func() time.Time { return *now }
		return n
	}
	begun := time.Now()
	now := begun
	raise(t, conn, 0, 4, alert.High, 10)
	n := fresh(&now)
	restarts := []time.Duration{2 * time.Hour, 9 * time.Hour, 17 * time.Hour}
	grown := false
	for now.Sub(begun) < 27*time.Hour {
		if len(restarts) > 0 && now.Sub(begun) > restarts[0] {
			n, restarts = fresh(&now), restarts[1:]
			if !grown { // the ones that wait are replaced by what they have become
				raise(t, conn, 0, 2, alert.High, 1000)
				raise(t, conn, 4, 6, alert.Critical, 1)
				grown = true
			}
		}
		m.mu.Lock()
		m.well = now.Sub(begun) > 23*time.Hour+30*time.Minute
		m.mu.Unlock()
		if err := n.look(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(max(time.Second, min(n.sinks[0].step(t.Context(), now), time.Hour)))
	}
	got := statuses(t, conn)
	if got[delivered] != 6 || got[pending] != 0 || got[gaveUp] != 0 {
		t.Errorf("deliveries: %v, want 6 delivered", got)
	}
	alerts, err := alert.NewStore(conn).Get(t.Context(), allIDs(t, n))
	if err != nil || len(alerts) != 6 {
		t.Fatalf("%d alerts, %v", len(alerts), err)
	}
	for _, a := range alerts {
		k := (&message{Alert: a}).key()
		if m.took[k] == 0 {
			t.Errorf("%s was lost", k)
		}
	}
	if m.n < 30 {
		t.Errorf("only %d requests: the day was too easy", m.n)
	}
}

func allIDs(t *testing.T, n *Notifier) (ids []string) {
	t.Helper()
	page, err := n.db.changed(t.Context(), time.Unix(0, 0), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range page {
		ids = append(ids, c.id)
	}
	return ids
}

package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/config"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

// childVariable holds what a copy of this test binary is to do: TestKilled kills it.
const childVariable = "TAPWATCH_NOTIFY_TEST_CHILD"

type child struct{ Addr, Database, URL string }

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		var c child
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		conn, err := dial(c.Addr, c.Database)
		if err == nil {
			var n *Notifier
			if n, err = New(quick(c.URL), conn, slog.New(slog.DiscardHandler), nil); err == nil {
				err = n.Run(context.Background())
			}
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	localtest.Main(m)
}

func dial(addr, database string) (driver.Conn, error) {
	return clickhouse.Config{Addr: []string{addr}, Database: database}.Open()
}

// quick is a Config with one webhook and no patience.
func quick(url string) Config {
	cfg := DefaultConfig()
	cfg.Interval, cfg.RetryMin, cfg.RetryMax, cfg.GiveUpAfter, cfg.GiveUpAttempts = 100*time.Millisecond, 5*time.Millisecond, 20*time.Millisecond, time.Hour, 3
	cfg.Webhooks = []Webhook{{Name: "hook", URL: config.Secret(url), Allow: loopback, PerMinute: maxPerMinute}}
	return cfg
}

// connect opens a fresh database with all tables.
func connect(t *testing.T, database string) (driver.Conn, string) {
	t.Helper()
	addr := localtest.TestClickHouse(t).Addr()
	admin, err := dial(addr, "default")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.Exec(t.Context(), "CREATE DATABASE "+database+" ENGINE = Atomic"); err != nil {
		t.Fatal(err)
	}
	conn, err := dial(addr, database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return conn, addr
}

// raise stores alerts number from to to-1, as a detector does.
func raise(t *testing.T, conn driver.Conn, from, to int, severity alert.Severity, magnitude float64) []alert.Alert {
	t.Helper()
	var found []alert.Alert
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := from; i < to; i++ {
		found = append(found, alert.Alert{Detector: "portscan_vertical", Version: 1, Title: fmt.Sprintf("scan %d", i), Severity: severity, Score: 0.5, Magnitude: magnitude,
			Entities: []string{fmt.Sprintf("actor=10.0.%d.%d", i/250, i%250)}, Start: start, End: start.Add(time.Minute), WindowStart: start, WindowEnd: start.Add(10 * time.Minute)})
	}
	r, err := alert.NewStore(conn).Raise(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	return r.Alerts
}

// receiver is an HTTP server that remembers what it has taken.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(attempt int) int // status, by how many requests had this key; 0: 200
	seen   map[string]int
	bodies map[string]string
	taken  map[string]int
	order  []string
	bad    []string
}

func receive(t *testing.T, answer func(attempt int) int) *receiver {
	r := &receiver{answer: answer, seen: map[string]int{}, bodies: map[string]string{}, taken: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return // the sender died
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		k := q.Header.Get("Idempotency-Key")
		r.seen[k]++
		if before, again := r.bodies[k]; again && before != string(body) {
			r.bad = append(r.bad, k+": the repetition is another message")
		}
		r.bodies[k] = string(body)
		status := http.StatusOK
		if r.answer != nil {
			if s := r.answer(r.seen[k]); s != 0 {
				status = s
			}
		}
		if status == http.StatusOK {
			r.taken[k]++
			r.order = append(r.order, k)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

// start runs a Notifier; stop ends it and waits.
func start(t *testing.T, cfg Config, conn driver.Conn) (stop func()) {
	t.Helper()
	n, err := New(cfg, conn, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// until waits for a condition, up to 20 s.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited for nothing: %s", what)
		}
	}
}

// statuses counts the deliveries by status.
func statuses(t *testing.T, conn driver.Conn) map[string]uint64 {
	t.Helper()
	rows, err := conn.Query(context.Background(), "SELECT toString(status), count() FROM deliveries FINAL GROUP BY status")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := map[string]uint64{}
	for rows.Next() {
		var s string
		var n uint64
		if err := rows.Scan(&s, &n); err != nil {
			t.Fatal(err)
		}
		got[s] = n
	}
	return got
}

// settle waits until a number of deliveries has a status.
func settle(t *testing.T, conn driver.Conn, status string, n uint64) {
	t.Helper()
	until(t, fmt.Sprintf("%d deliveries %s", n, status), func() bool { return statuses(t, conn)[status] >= n })
}

func (r *receiver) check(t *testing.T, keys int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.taken) != keys {
		t.Errorf("%d messages arrived, want %d: %v", len(r.taken), keys, r.taken)
	}
	for k, n := range r.taken {
		if n != 1 {
			t.Errorf("%s was taken %d times", k, n)
		}
	}
	for _, b := range r.bad {
		t.Error(b)
	}
}

// Ending and starting again at any moment loses nothing and doubles nothing,
// also while the server fails every other time.
func TestRestarts(t *testing.T) {
	conn, _ := connect(t, "notify_restarts")
	r := receive(t, func(attempt int) int {
		if attempt%2 == 1 {
			return 503
		}
		return 200
	})
	const rounds, each = 3, 5
	for i := range rounds {
		raise(t, conn, i*each, (i+1)*each, alert.Medium, 10)
		stop := start(t, quick(r.URL), conn)
		until(t, "some messages", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.taken) >= i*each+each/2 })
		stop()
	}
	stop := start(t, quick(r.URL), conn)
	settle(t, conn, delivered, rounds*each)
	stop()
	r.check(t, rounds*each)
	if got := statuses(t, conn); len(got) != 1 {
		t.Errorf("deliveries %v", got)
	}
}

func TestRevisions(t *testing.T) {
	conn, _ := connect(t, "notify_revisions")
	r := receive(t, nil)
	cfg := quick(r.URL)
	cfg.Webhooks = append(cfg.Webhooks, Webhook{Name: "duty", URL: config.Secret(r.URL), Allow: loopback, MinSeverity: alert.High})
	stop := start(t, cfg, conn)
	defer stop()
	raise(t, conn, 0, 1, alert.Info, 1) // below everyone's minimum
	id := raise(t, conn, 1, 2, alert.Low, 10)[0].ID
	settle(t, conn, delivered, 1)
	raise(t, conn, 1, 2, alert.Low, 50) // revision 2: not worth a message
	raise(t, conn, 1, 2, alert.Low, 100)
	settle(t, conn, delivered, 2)
	raise(t, conn, 1, 2, alert.High, 100) // revision 4: now also for duty
	settle(t, conn, delivered, 4)
	stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	want := map[string]int{id + "-1": 1, id + "-3": 1, id + "-4": 2}
	if fmt.Sprint(r.taken) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", r.taken, want)
	}
	if !strings.Contains(r.bodies[id+"-3"], `"reason":"grown_tenfold"`) {
		t.Error(r.bodies[id+"-3"])
	}
}

// A message that is refused is given up after a few attempts, and holds up no other.
func TestGiveUp(t *testing.T) {
	conn, _ := connect(t, "notify_giveup")
	var mu sync.Mutex
	refuse := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(q.Header.Get("Idempotency-Key"), refuse) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	defer server.Close()
	refuse = raise(t, conn, 0, 1, alert.Critical, 10)[0].ID
	raise(t, conn, 1, 6, alert.Low, 10)
	stop := start(t, quick(server.URL), conn)
	defer stop()
	settle(t, conn, delivered, 5)
	settle(t, conn, gaveUp, 1)
	var attempts uint32
	var text string
	if err := conn.QueryRow(t.Context(), "SELECT attempts, error FROM deliveries FINAL WHERE status = 'gave_up'").Scan(&attempts, &text); err != nil {
		t.Fatal(err)
	}
	if attempts != uint32(DefaultConfig().RefusedAttempts) || !strings.Contains(text, "422") {
		t.Errorf("%d attempts, %q", attempts, text)
	}
	// And what fails for longer than there is patience.
	stop()
	mu.Lock()
	refuse = "nothing"
	mu.Unlock()
	server.Close()
	cfg := quick(server.URL)
	cfg.GiveUpAfter = 50 * time.Millisecond
	raise(t, conn, 6, 8, alert.Low, 10)
	stop = start(t, cfg, conn)
	defer stop()
	settle(t, conn, gaveUp, 3)
	// Given up is told: a restart does not begin anew, a change of severity does.
	stop()
	r := receive(t, nil)
	raise(t, conn, 0, 1, alert.High, 10)
	stop = start(t, quick(r.URL), conn)
	settle(t, conn, delivered, 6)
	stop()
	r.check(t, 1)
}

// More alerts than a page, all stored in the same millisecond, are all found, and
// a queue that is too small for them gets the rest later.
func TestManyAlerts(t *testing.T) {
	conn, _ := connect(t, "notify_many")
	const many = 2*pageSize + 500
	raise(t, conn, 0, many, alert.Low, 10)
	raise(t, conn, many, many+1, alert.Critical, 10)
	n, err := New(quick("http://127.0.0.1:1"), conn, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := n.sinks[0]
	now := time.Now()
	if err := n.look(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if len(s.queue) != many+1 {
		t.Errorf("%d alerts queued, want %d", len(s.queue), many+1)
	}
	if it, _ := s.pick(now); it == nil || it.severity != alert.Critical {
		t.Errorf("first is %+v", it)
	}

	s.queue, s.limit, n.from, n.swept = map[string]*item{}, 1000, time.Time{}, time.Time{}
	got := map[string]bool{}
	for range 10 {
		if err := n.look(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if len(s.queue) > s.limit {
			t.Fatalf("%d in a queue of %d", len(s.queue), s.limit)
		}
		var rows []row
		for it, _ := s.pick(now); it != nil; it, _ = s.pick(now) {
			got[it.id] = true
			rows = append(rows, row{alert: it.id, revision: it.revision, sink: s.name, status: delivered, severity: it.severity, magnitude: it.magnitude, at: now})
			s.remove(it.id)
		}
		if len(rows) > 0 {
			if err := n.db.write(t.Context(), rows...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(got) != many+1 {
		t.Errorf("%d alerts came through the small queue, want %d", len(got), many+1)
	}
}

// A newer revision takes the place of one that could not be sent.
func TestReplaced(t *testing.T) {
	conn, _ := connect(t, "notify_replaced")
	var mu sync.Mutex
	down := true
	r := receive(t, func(int) int {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return 500
		}
		return 0
	})
	id := raise(t, conn, 0, 1, alert.Low, 10)[0].ID
	stop := start(t, quick(r.URL), conn)
	defer stop()
	until(t, "an attempt", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.seen[id+"-1"] > 0 })
	raise(t, conn, 0, 1, alert.Low, 11)
	settle(t, conn, replaced, 1)
	mu.Lock()
	down = false
	mu.Unlock()
	settle(t, conn, delivered, 1)
	stop()
	r.check(t, 1)
	if r.taken[id+"-2"] != 1 {
		t.Errorf("taken %v", r.taken)
	}
	if got := statuses(t, conn); got[replaced] != 1 || got[delivered] != 1 || len(got) != 2 {
		t.Errorf("deliveries %v", got)
	}
}

// A process killed with -9 at any moment repeats at most what was under way, with
// the same key and the same bytes.
func TestKilled(t *testing.T) {
	conn, addr := connect(t, "notify_killed")
	r := receive(t, nil)
	text, err := json.Marshal(child{addr, "notify_killed", r.URL})
	if err != nil {
		t.Fatal(err)
	}
	const kills, each = 4, 6
	for i := range kills {
		raise(t, conn, i*each, (i+1)*each, alert.Medium, 10)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+string(text))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Kill while a request is answered: sent, and not stored as delivered.
		want := i*each + 3 + i%4
		until(t, "messages before the kill", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.seen) >= want })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	stop := start(t, quick(r.URL), conn)
	settle(t, conn, delivered, kills*each)
	stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	repeated := 0
	for _, n := range r.seen {
		repeated += n - 1
	}
	if len(r.seen) != kills*each || repeated > kills {
		t.Errorf("%d messages and %d repetitions, want %d and at most %d", len(r.seen), repeated, kills*each, kills)
	}
	for _, b := range r.bad {
		t.Error(b)
	}
	t.Logf("%d kills, %d messages, %d repetitions with the same key and bytes", kills, len(r.seen), repeated)
}

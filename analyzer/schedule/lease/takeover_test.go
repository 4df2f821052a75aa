package lease_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/detect/recon"
	"github.com/tapwatch/tapwatch/analyzer/notify"
	"github.com/tapwatch/tapwatch/analyzer/schedule"
	"github.com/tapwatch/tapwatch/analyzer/schedule/lease"
	kitclickhouse "github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/config"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

// childVariable holds what a copy of this test binary is to do: TestTakeover
// kills it.
const childVariable = "TAPWATCH_LEASE_TEST_CHILD"

type child struct{ Addr, Database, URL string }

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		fmt.Fprintln(os.Stderr, analyze(text))
		os.Exit(2)
	}
	localtest.Main(m)
}

func dial(addr, database string) (driver.Conn, error) {
	return kitclickhouse.Config{Addr: []string{addr}, Database: database}.Open()
}

// analyze is an analyzer with the scans alone, and one webhook.
func analyze(text string) error {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	conn, err := dial(c.Addr, c.Database)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	hook := notify.DefaultConfig()
	hook.Interval, hook.RetryMin, hook.RetryMax = 100*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond
	hook.Webhooks = []notify.Webhook{{Name: "hook", URL: config.Secret(c.URL), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, PerMinute: 6000}}
	n, err := notify.New(hook, conn, log, nil)
	if err != nil {
		return err
	}
	hold := lease.New(lease.Config{Length: 6 * time.Second}, "analyzer", conn, log, nil)
	pace := schedule.DefaultConfig()
	pace.Interval, pace.Provisional = 100*time.Millisecond, 0
	s := schedule.New(pace, conn, recon.All(detecttest.Own(), recon.DefaultConfig())[:1], log, nil, nil)
	n.While(hold.Held)
	s.While(hold.Held)
	g, ctx := errgroup.WithContext(context.Background())
	g.Go(func() error { return hold.Run(ctx) })
	g.Go(func() error { return n.Run(ctx) })
	g.Go(func() error { return s.Run(ctx, func(error) {}) })
	return g.Wait()
}

var begin = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// scanned stores half an hour in whose middle somebody scans a host, and the
// batch of a probe that has passed it.
func scanned(t *testing.T, conn driver.Conn, i int) {
	t.Helper()
	start := begin.Add(time.Duration(i) * 30 * time.Minute)
	args := []any{clickhouse.Named("start", start.Add(12*time.Minute).Format(time.DateTime)), clickhouse.Named("seq", i+1), clickhouse.Named("src", fmt.Sprintf("10.0.%d.%d", i/200, i%200+1)),
		clickhouse.Named("mark", start.Add(30*time.Minute).Format(time.DateTime))}
	for _, sql := range []string{`INSERT INTO flows (start, end, received, probe, epoch, worker, seq, row, flow_id, src_ip, dst_ip, src_port, dst_port, protocol, conn_state, src_packets)
		SELECT toDateTime64({start:DateTime('UTC')}, 9, 'UTC') + number AS s, s, now(), 'p', 1, 0, {seq:UInt64}, number, {seq:UInt64} * 100 + number, toIPv6({src:String}), toIPv6('10.9.0.1'), 40000, number + 1, 6, 'REJ', 1
		FROM numbers(20) SETTINGS async_insert = 0`,
		`INSERT INTO batches (probe, topic, epoch, seq, worker, kafka_partition, kafka_offset, status, received, stored, watermark, minutes, minute_rows)
		SELECT 'p', 't', 1, {seq:UInt64}, 0, 0, {seq:Int64}, 'stored', now64(3), now64(3), {mark:DateTime('UTC')}, [toUInt32(intDiv(toUnixTimestamp({start:DateTime('UTC')}), 60))], [toUInt32(20)] SETTINGS async_insert = 0`} {
		if err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
}

// Two analyzers side by side, and one of them is killed again and again: each
// window is judged, each alert is stored once, and told once, unless the kill came
// between telling and noting it: then the same message comes again.
// TAPWATCH_KILLS says how often.
func TestTakeover(t *testing.T) {
	kills := 4
	if n, err := strconv.Atoi(os.Getenv("TAPWATCH_KILLS")); err == nil {
		kills = n
	}
	addr := localtest.TestClickHouse(t).Addr()
	conn := localtest.Database(t, "takeover")
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]int{}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if _, err := io.ReadAll(q.Body); err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		seen[q.Header.Get("Idempotency-Key")]++
	}))
	defer hook.Close()
	text, err := json.Marshal(child{addr, "takeover", hook.URL})
	if err != nil {
		t.Fatal(err)
	}
	launch := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+string(text))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	end := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	until := func(what, sql string, want uint64) {
		t.Helper()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		var got uint64
		for deadline := time.Now().Add(150 * time.Second); time.Now().Before(deadline); <-tick.C {
			if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if got >= want {
				return
			}
		}
		t.Fatalf("%s: %d of %d after 150 s", what, got, want)
	}
	two := map[int]*exec.Cmd{}
	add := func() { cmd := launch(); two[cmd.Process.Pid] = cmd }
	add()
	add()
	defer func() {
		for _, cmd := range two {
			end(cmd)
		}
	}()
	random := rand.New(rand.NewPCG(1, 2))
	held := 0
	for i := range kills {
		until("somebody holds the lease", "SELECT count() FROM leases WHERE until > now64(3)", 1)
		scanned(t, conn, i)
		pause := time.NewTimer(time.Duration(random.Int64N(int64(500 * time.Millisecond)))) // the moment of the kill is what is tried
		<-pause.C
		var holder string
		if err := conn.QueryRow(t.Context(), "SELECT argMax(splitByChar('/', holder)[2], (term, beat)) FROM leases").Scan(&holder); err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(holder)
		if cmd := two[pid]; cmd != nil {
			held++
			end(cmd)
			delete(two, pid)
			add()
		}
	}
	until("closed windows", "SELECT uniqExact(window_start) FROM job_runs FINAL WHERE closed AND error = ''", uint64(2*kills))
	until("alerts", "SELECT uniqExact(actor) FROM alerts FINAL", uint64(kills))
	until("deliveries", "SELECT count() FROM deliveries FINAL WHERE status = 'delivered'", uint64(kills))
	localtest.Expect(t, conn, "SELECT count() FROM alerts FINAL", uint64(kills))
	localtest.Expect(t, conn, "SELECT toUInt64(max(revision)) FROM alerts FINAL", 1)
	localtest.Expect(t, conn, "SELECT toUInt64(count() = uniqExact(term, beat)) FROM leases", 1)
	mu.Lock()
	defer mu.Unlock()
	repeated := 0
	for _, n := range seen {
		repeated += n - 1
	}
	if len(seen) != kills || repeated > held {
		t.Errorf("%d messages and %d repetitions of the same message, want %d and at most %d", len(seen), repeated, kills, held)
	}
	t.Logf("%d kills of the holder: %d messages, %d repeated with the same key", held, len(seen), repeated)
}

package notify

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// What was sent and could not be stored as delivered is stored when that works
// again, and not sent again.
func TestStoreFailsAfterSending(t *testing.T) {
	conn, _ := connect(t, "notify_store")
	raise(t, conn, 0, 1, alert.Medium, 10)
	var once sync.Once
	r := receive(t, func(int) int {
		once.Do(func() {
			if err := conn.Exec(context.Background(), "RENAME TABLE deliveries TO hidden"); err != nil {
				t.Error(err)
			}
		})
		return 0
	})
	n, err := New(quick(r.URL), conn, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := n.sinks[0]
	var g sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	g.Go(func() { _ = n.Run(ctx) })
	until(t, "the message", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.taken) == 1 })
	raise(t, conn, 1, 3, alert.Medium, 10) // waits until the outcome is stored
	until(t, "a look that fails", func() bool {
		return value(t, n.metrics.lookErrors) > 0 && value(t, n.metrics.storeErrors.WithLabelValues(s.name)) > 0
	})
	if err := conn.Exec(t.Context(), "RENAME TABLE hidden TO deliveries"); err != nil {
		t.Fatal(err)
	}
	settle(t, conn, delivered, 3)
	cancel()
	g.Wait()
	r.check(t, 3)
	if n := r.seen; len(n) != 3 {
		t.Errorf("requests %v", n)
	}
}

// value reads a counter.
func value(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// A message under way when the process is asked to end is finished and stored.
func TestEndWaitsForWhatIsUnderWay(t *testing.T) {
	conn, _ := connect(t, "notify_end")
	raise(t, conn, 0, 1, alert.Medium, 10)
	arrived, answer := make(chan struct{}), make(chan struct{})
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if requests.Add(1) == 1 {
			close(arrived)
		}
		<-answer
	}))
	defer server.Close()
	n, err := New(quick(server.URL), conn, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() { _ = n.Run(ctx) })
	<-arrived
	cancel()
	close(answer)
	g.Wait()
	if got := statuses(t, conn); got[delivered] != 1 || len(got) != 1 || requests.Load() != 1 {
		t.Errorf("deliveries %v, %d requests", got, requests.Load())
	}
}

// A sink that hangs holds up no other, and nothing of its secrets is logged,
// stored or counted.
func TestSinksAreApart(t *testing.T) {
	const canary = "CANARY-7f3a"
	conn, _ := connect(t, "notify_apart")
	raise(t, conn, 0, 3, alert.High, 10)
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case <-hang:
		case <-q.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(hang)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	mails := &mailServer{replies: map[string]string{"GREET": "554 go away, " + canary}}
	cfg := quick("http://user:" + canary + "@" + strings.TrimPrefix(slow.URL, "http://") + "/" + canary)
	cfg.Webhooks[0].Secret = canary
	cfg.Webhooks[0].Headers = map[string]config.Secret{"Authorization": canary}
	cfg.Webhooks = append(cfg.Webhooks, Webhook{Name: "closed", URL: "http://127.0.0.1:1/" + canary, Allow: loopback})
	cert, _ := authority(t)
	mails.cert = &cert
	cfg.Email = []Email{{Name: "soc", Host: "127.0.0.1", Port: mails.start(t), Username: "tapwatch", Password: canary, From: "a@example.org", To: []string{"b@example.org"}}}
	cfg.Syslog = []Syslog{{Name: "siem", Network: "udp", Addr: udp.LocalAddr().String()}}
	cfg.Webhooks[0].Timeout = lookTimeout
	var log lockedBuffer
	reg := prometheus.NewRegistry()
	n, err := New(cfg, conn, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() { _ = n.Run(ctx) })
	settle(t, conn, delivered, 3) // by syslog
	until(t, "failures", func() bool {
		return value(t, n.metrics.attempts.WithLabelValues("closed", "failed")) > 1 && value(t, n.metrics.attempts.WithLabelValues("soc", "failed")) > 1
	})
	slow.CloseClientConnections()
	cancel()
	g.Wait()
	rows, err := conn.Query(t.Context(), "SELECT concat(alert, sink, toString(status), error) FROM deliveries")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := log.String()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all += text
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		all += f.String()
	}
	if strings.Contains(all, canary) || !strings.Contains(all, "connection refused") {
		t.Errorf("shows a secret, or nothing:\n%s", all)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

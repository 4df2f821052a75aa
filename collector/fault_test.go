package collector_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/local/fault"
)

// load makes n batches of rows each, for both partitions in turn, over 4 hours
// of two days.
func load(t testing.TB, n, rows int) (values [][]byte) {
	g := [2]*generator{newGenerator(1, "a"), newGenerator(2, "b")}
	begin := time.Date(2026, 3, 2, 22, 0, 0, 0, time.UTC)
	for i := range n {
		values = append(values, g[i%2].batch(t, rows, begin.Add(time.Duration(i)*4*time.Hour/time.Duration(n)), 5*time.Minute))
	}
	return values
}

func proxied(t testing.TB, cfg *collector.Config) *fault.Proxy {
	t.Helper()
	p, err := fault.Listen(cfg.ClickHouse.Addr[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	cfg.ClickHouse.Addr = []string{p.Addr()}
	return p
}

// TestLostReplies: inserts that are applied, and whose reply never comes.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	cfg := r.cfg
	p := proxied(t, &cfg)
	cfg.Block.Timeout, cfg.Block.MaxWait = 600*time.Millisecond, 20*time.Millisecond
	metric := r.serveMetrics(&cfg)
	values := load(t, 20, 200)
	r.start(cfg)
	for i, v := range values {
		if i%2 == 0 {
			p.SwallowReplies("INSERT INTO flows (", 5000, 1)
		}
		produce(t, r.client, cfg.Topic, i%2, v)
		r.until("SELECT count() FROM batches FINAL", uint64(i+1), 20*time.Second)
	}
	r.exactly(values...)
	if n := p.Swallowed(); n != 10 {
		t.Errorf("%d replies were lost, want 10: the test has not tested", n)
	}
	// Before it tries again the collector looks; a late row it finds only by the server's answer.
	if hits, present := metric("tapwatch_collector_store_dedup_hits_total"), metric("tapwatch_collector_store_present_rows_total"); hits+present/200 < 8 {
		t.Errorf("%v inserts were dropped as known and %v rows found, want about 10 inserts of 200 rows", hits, present)
	}
	if n := metric("tapwatch_collector_consume_stopped_partitions"); n != 0 {
		t.Errorf("%v partitions stopped", n)
	}
}

// TestClickHouseKilled: kill -9 in the middle of the work.
func TestClickHouseKilled(t *testing.T) {
	r := newRig(t, 2)
	cfg := r.cfg
	cfg.Block.Timeout, cfg.Block.MaxWait, cfg.Block.MaxRows = 3*time.Second, 20*time.Millisecond, 1000
	metric := r.serveMetrics(&cfg)
	values := load(t, 90, 400)
	r.start(cfg)
	rnd := rand.New(rand.NewPCG(3, 3))
	kills := 0
	for i, v := range values {
		produce(t, r.client, cfg.Topic, i%2, v)
		if i%30 == 15 {
			stored := r.count("SELECT count() FROM batches")
			r.until(fmt.Sprintf("SELECT toUInt64(count() > %d) FROM batches", stored), 1, 20*time.Second)
			pause(time.Duration(rnd.IntN(150)) * time.Millisecond)
			if pid := r.clickhouse.PID(); pid > 0 {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				kills++
			}
		}
	}
	r.exactly(values...)
	if kills == 0 {
		t.Error("nothing was killed")
	}
	if metric("tapwatch_collector_store_retries_total") < 1 {
		t.Error("no attempt has failed: the test has not tested")
	}
	if s := r.readiness(cfg); !strings.Contains(s, `"ready":true`) {
		t.Errorf("not ready afterwards: %s", s)
	}
}

// TestRestarts: the collector is ended at any moment, with connections cut at the
// same time so that what it had begun is left half done.
func TestRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	cfg := r.cfg
	p := proxied(t, &cfg)
	cfg.Block.Timeout, cfg.Block.MaxWait = 2*time.Second, 20*time.Millisecond
	values := load(t, 60, 300)
	rnd := rand.New(rand.NewPCG(5, 5))
	next := 0
	for range 5 {
		cfg.Block.MaxRows = 600 + rnd.IntN(3000) // other blocks each time
		stop := r.start(cfg)
		for range 10 {
			produce(t, r.client, cfg.Topic, next%2, values[next])
			next++
		}
		// Some begun, some not.
		before := r.count("SELECT count() FROM flows")
		r.until(fmt.Sprintf("SELECT toUInt64(count() > %d) FROM flows", before), 1, 30*time.Second)
		pause(time.Duration(rnd.IntN(60)) * time.Millisecond)
		if rnd.IntN(2) == 0 {
			p.Cut()
		}
		stop()
	}
	for ; next < len(values); next++ {
		produce(t, r.client, cfg.Topic, next%2, values[next])
	}
	r.start(cfg)
	r.exactly(values...)
}

// TestTwoCollectors: partitions change hands while blocks are under way.
func TestTwoCollectors(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	cfg := r.cfg
	cfg.Block.MaxWait, cfg.Block.MaxRows = 50*time.Millisecond, 1200
	values := load(t, 160, 200)
	first := r.start(cfg)
	var second func()
	for i, v := range values {
		produce(t, r.client, cfg.Topic, i%4, v)
		switch i {
		case 30:
			second = r.start(cfg)
		case 80:
			r.until("SELECT toUInt64(count() >= 60) FROM batches FINAL", 1, 40*time.Second)
			first()
		case 110:
			first = r.start(cfg)
		case 140:
			second()
		}
	}
	r.exactly(values...)
}

// TestClickHouseAway: a collector that starts without ClickHouse, and loses it
// later, waits and says so.
func TestClickHouseAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	cfg := r.cfg
	cfg.Block.Timeout = time.Second
	p := proxied(t, &cfg)
	p.Refuse(true)
	r.serveMetrics(&cfg)
	g := newGenerator(1, "a")
	values := [][]byte{g.batch(t, 100, monday, time.Minute), g.batch(t, 100, monday, time.Minute)}
	produce(t, r.client, cfg.Topic, 0, values[0])
	r.start(cfg)
	away := func() {
		t.Helper()
		for range 100 {
			if s := r.readiness(cfg); strings.Contains(s, `"ready":false`) && strings.Contains(s, "clickhouse") {
				return
			}
			pause(100 * time.Millisecond)
		}
		t.Fatalf("readiness does not tell: %s", r.readiness(cfg))
	}
	away()
	p.Refuse(false)
	r.exactly(values[:1]...)
	p.Refuse(true)
	p.Cut()
	produce(t, r.client, cfg.Topic, 0, values[1])
	away()
	p.Refuse(false)
	r.exactly(values...)
}

// TestKafkaAway: a collector that starts without Kafka waits, and ends at once
// when told to.
func TestKafkaAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	cfg := r.cfg
	broker, err := fault.Listen(cfg.Kafka.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg.Kafka.Brokers = []string{broker.Addr()}
	broker.Close()
	r.serveMetrics(&cfg)
	stop := r.start(cfg)
	for i := 0; ; i++ {
		s := r.readiness(cfg)
		if strings.Contains(s, `"ready":false`) && strings.Contains(s, "kafka is unreachable") {
			break
		}
		if i == 100 {
			t.Fatalf("readiness does not tell: %s", s)
		}
		pause(100 * time.Millisecond)
	}
	stop()
}

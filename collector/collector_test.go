package collector_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

var monday = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func TestStores(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	g := [2]*generator{newGenerator(1, "a"), newGenerator(2, "b")}
	for i := range 20 {
		p := i % 2
		// The last of them span three days.
		span := time.Minute
		if i >= 18 {
			span = 70 * time.Hour
		}
		produce(t, r.client, r.cfg.Topic, p, g[p].batch(t, 500, monday.Add(time.Duration(i)*time.Hour), span))
	}
	produce(t, r.client, r.cfg.Topic, 0, g[0].batch(t, 0, monday, 0)) // nothing but a ledger
	stop := r.start(r.cfg)
	r.until("SELECT count() FROM batches FINAL", 21, 20*time.Second)
	r.want("SELECT count() FROM flows", 10000)
	r.want("SELECT uniqExact(probe, epoch, worker, seq, row) FROM flows", 10000)
	r.want("SELECT count() FROM batches FINAL WHERE status = 'stored'", 21)
	r.want("SELECT sum(rows) FROM batches FINAL", 10000)
	r.want("SELECT sum(arraySum(minute_rows)) FROM batches FINAL", 10000)
	r.want("SELECT sum(seen_packets) FROM ledger", 110000)
	r.want("SELECT sum(packets) FROM ledger_losses", 10000)
	r.until("SELECT sum(segments) FROM flows_1m", 10000, time.Minute)
	r.want("SELECT sum(src_bytes + dst_bytes) = (SELECT sum(src_bytes + dst_bytes) FROM flows) ? 1::UInt64 : 0::UInt64 FROM flows_1m", 1)
	stop()
}

// TestDuplicates: the same batch again, in the same block and in a later one.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	g := newGenerator(1, "a")
	a, b, c := g.batch(t, 100, monday, time.Minute), g.batch(t, 100, monday, time.Minute), g.batch(t, 100, monday, time.Minute)
	produce(t, r.client, r.cfg.Topic, 0, a, b, a)
	stop := r.start(r.cfg)
	r.exactly(a, b)
	produce(t, r.client, r.cfg.Topic, 0, b, c, a)
	r.exactly(a, b, c)
	stop()
	produce(t, r.client, r.cfg.Topic, 0, c)
	r.start(r.cfg)
	r.until("SELECT count() FROM batches FINAL", 7, 20*time.Second)
	r.exactly(a, b, c)
	r.want("SELECT count() FROM batches FINAL WHERE status = 'duplicate'", 4)
	r.want("SELECT sum(seen_packets) FROM ledger", 3300)
}

// TestPoison: messages that cannot be decoded between good ones, and their way
// back.
func TestPoison(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	g := newGenerator(1, "a")
	a, b, c := g.batch(t, 100, monday, time.Minute), g.batch(t, 100, monday, time.Minute), g.batch(t, 100, monday, time.Minute)
	late := g.batch(t, 10, time.Date(2110, 1, 1, 0, 0, 0, 0, time.UTC), time.Minute)
	produce(t, r.client, r.cfg.Topic, 0, a, []byte("GET / HTTP/1.1"), nil, b[:len(b)/2], b, late)
	r.start(r.cfg)
	r.exactly(a, b)
	r.until("SELECT count() FROM batches FINAL", 6, 20*time.Second)
	r.want("SELECT count() FROM batches FINAL WHERE status = 'quarantined'", 4)
	r.want("SELECT count() FROM batches FINAL WHERE status = 'quarantined' AND reason = 'compression'", 2)
	r.want("SELECT count() FROM batches FINAL WHERE status = 'quarantined' AND reason = 'time'", 1)
	dead := r.read(r.cfg.DeadLetterTopic, 4)
	for i, want := range [][]byte{[]byte("GET / HTTP/1.1"), nil, b[:len(b)/2], late} {
		if !bytes.Equal(dead[i].Value, want) {
			t.Errorf("dead letter %d: value of %d octets, want %d", i, len(dead[i].Value), len(want))
		}
		h := map[string]string{}
		for _, x := range dead[i].Headers {
			h[x.Key] = string(x.Value)
		}
		if h[consume.HeaderReason] == "" || h[consume.HeaderError] == "" || h[consume.HeaderTopic] != r.cfg.Topic || h[consume.HeaderPartition] != "0" ||
			h[consume.HeaderOffset] != []string{"1", "2", "3", "5"}[i] || h[consume.HeaderTime] == "" {
			t.Errorf("dead letter %d: headers %v", i, h)
		}
	}
	// What was refused as newer can be read after an upgrade.
	r.letter(c, flow.ErrNewerVersion.Error(), 7)
	r.letter(c, flow.ErrNewerVersion.Error(), 7)
	r.letter([]byte("still not"), flow.ErrNewerVersion.Error(), 8)
	got, err := collector.Replay(t.Context(), r.cfg, flow.ErrNewerVersion.Error())
	if want := (collector.Replayed{Replayed: 1, Other: 4, Unreadable: 1, Repeated: 1}); err != nil || got != want {
		t.Errorf("replay: got %+v, %v, want %+v", got, err, want)
	}
	r.exactly(a, b, c)
}

// TestForgotten: Kafka has lost the group's offsets. Nothing is stored twice,
// neither what is in `batches` nor rows of a block that never got there.
func TestForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	g := newGenerator(1, "a")
	var values [][]byte
	for i := range 12 {
		values = append(values, g.batch(t, 100, monday.Add(time.Duration(i)*7*time.Hour), 8*time.Hour))
	}
	produce(t, r.client, r.cfg.Topic, 0, values...)
	stop := r.start(r.cfg)
	r.exactly(values...)
	stop()
	cfg := r.cfg
	cfg.Group += "-2"
	cfg.Block.MaxRows = 350
	metric := r.serveMetrics(&cfg)
	if err := r.conn.Exec(t.Context(), "ALTER TABLE batches DELETE WHERE kafka_offset >= 5 SETTINGS mutations_sync = 2"); err != nil {
		t.Fatal(err)
	}
	stop = r.start(cfg)
	r.exactly(values...)
	if n := metric(`tapwatch_collector_store_present_rows_total`); n != 700 {
		t.Errorf("%v rows were found present, want 700", n)
	}
	stop()
}

// TestExpired: messages older than retention are accounted for, not stored.
func TestExpired(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	g := newGenerator(1, "a")
	a, b := g.batch(t, 100, monday, time.Minute), g.batch(t, 100, monday, time.Minute)
	r.produceAt(time.Now().Add(-100*24*time.Hour), a)
	produce(t, r.client, r.cfg.Topic, 0, b)
	r.start(r.cfg)
	r.exactly(b)
	r.want("SELECT sum(rows) FROM batches FINAL WHERE status = 'expired'", 100)
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	cfg := r.cfg
	cfg.ClickHouse.Password = "wrong"
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := collector.Run(ctx, cfg)
	if !errors.Is(err, clickhouse.ErrRefused) || kit.HintOf(err) == "" {
		t.Errorf("got %v, want ErrRefused with a hint", err)
	}
}

func TestCheck(t *testing.T) {
	if err := collector.Check(collector.DefaultConfig()); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for name, spoil := range map[string]func(*collector.Config){
		"no broker":        func(c *collector.Config) { c.Kafka.Brokers = nil },
		"no group":         func(c *collector.Config) { c.Group = "" },
		"same topic":       func(c *collector.Config) { c.DeadLetterTopic = c.Topic },
		"no rows":          func(c *collector.Config) { c.Block.MaxRows = 0 },
		"no memory":        func(c *collector.Config) { c.Block.MaxBytes = 1000 },
		"negative rollup":  func(c *collector.Config) { c.Rollup.Interval = -1 },
		"broker, no port":  func(c *collector.Config) { c.Kafka.Brokers = []string{"kafka"} },
		"no replicas":      func(c *collector.Config) { c.Create.Replication = 0 },
		"clickhouse, bare": func(c *collector.Config) { c.ClickHouse.Addr = []string{"db"} },
	} {
		cfg := collector.DefaultConfig()
		spoil(&cfg)
		if err := collector.Check(cfg); err == nil || kit.HintOf(err) == "" {
			t.Errorf("%s: got %v, want an error with a hint", name, err)
		}
	}
}

// TestNoLeak: a collector that has ended leaves no goroutine behind.
func TestNoLeak(t *testing.T) {
	r := newRig(t, 2)
	g := newGenerator(1, "a")
	round := func(n uint64) {
		stop := r.start(r.cfg)
		produce(t, r.client, r.cfg.Topic, 0, g.batch(t, 100, monday, time.Minute))
		r.until("SELECT count() FROM batches FINAL", n, 30*time.Second)
		stop()
	}
	round(1) // the test's own clients have their connections now
	before := runtime.NumGoroutine()
	round(2)
	round(3)
	after := 0
	for range 100 {
		if after = runtime.NumGoroutine(); after <= before+2 {
			return
		}
		pause(100 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, before two runs %d:\n%s", after, before, stacks[:runtime.Stack(stacks, true)])
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/local/fault"
)

// plan says how much is to happen.
type plan struct {
	flows int
	kinds []kind
	naive bool
	pace  time.Duration // for the flows of one fault
	scale float64       // of the numbers of faults; 0: 1
}

const (
	killTopic   = "killed"
	partitions  = 4
	insertStart = "INSERT INTO flows ("
)

// insertStart and insertRest strike an insert once the names of its columns
// have passed and its rows come.
var insertRest = len(strings.Join(flow.ColumnNames(), ", ")) + 400

// rig is the whole chain as processes, each of which can be killed.
type rig struct {
	plan
	t      *testing.T
	seed   uint64
	random *rand.Rand
	dir    string
	began  time.Time
	s      settings

	kafka           *local.KafkaProcess
	house           *local.ClickHouse
	toKafka, toRows *fault.Proxy
	db              driver.Conn
	collectors      [3]*child // nil: gone for now
	listens         [3]string
	disk, noDisk    string // of ClickHouse; why it has none of its own

	mu        sync.Mutex // guards what the pacing goroutines use
	generator *child
	edge      *child
	allowed   float64 // flows the generator may make so far
	rate      float64 // of them per second
	limit     float64
	fed       int // packets given to the probe
	finishing bool

	share    float64 // flows of one fault
	planned  map[string]int
	done     map[string]int
	cannot   map[string]string
	awake    sync.WaitGroup // processes that are held up
	pauses   pauses
	poisoned int
	twinned  [][]byte // see messages_test.go
	aged     int
	inKafka  map[batchID]*published
	counted  map[string]float64 // metrics of collectors that are gone
	spooled  map[batchID][32]byte
}

func newRig(t *testing.T, p plan) *rig {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("TAPWATCH_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("TAPWATCH_SEED: %v", err)
		}
	}
	r := &rig{plan: p, t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), began: time.Now(),
		planned: map[string]int{}, done: map[string]int{}, cannot: map[string]string{}, counted: map[string]float64{}, spooled: map[batchID][32]byte{}}
	t.Logf("TAPWATCH_SEED=%d", seed)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if errors.Is(err, local.ErrNoClickHouse) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.mountDisk(filepath.Join(r.dir, "clickhouse")))
	var err error
	r.house, err = local.StartClickHouse(ctx, local.ClickHouseConfig{Dir: filepath.Join(r.dir, "clickhouse"), MaxMemory: 3 << 30, KeepFree: keepFree}, nil)
	must(err)
	t.Cleanup(func() { r.house.Close() })
	r.kafka, err = local.StartKafkaProcess(ctx, local.KafkaConfig{Dir: filepath.Join(r.dir, "kafka"), Sync: true,
		Topics: map[string]int32{killTopic: partitions, killTopic + ".dead": 1}}, nil)
	must(err)
	t.Cleanup(func() { r.kafka.Close() })
	r.toRows, err = fault.Listen(r.house.Addr())
	must(err)
	t.Cleanup(func() { r.toRows.Close() })
	r.toKafka, err = fault.Listen(r.kafka.Addr())
	must(err)
	t.Cleanup(func() { r.toKafka.Close() })
	r.s = settings{Broker: r.kafka.Addr(), KafkaProxy: r.toKafka.Addr(), ClickHouse: r.toRows.Addr(), Database: "killed",
		Topic: killTopic, Group: "killed", Journal: filepath.Join(r.dir, "journal"), Seed: seed, Flows: p.flows, RequestTimeout: 3 * time.Second}
	if p.naive { // it must not give up while the server works: what is cancelled is not doubled
		r.s.RequestTimeout = 10 * time.Second
	}
	direct := r.s.collector()
	direct.ClickHouse.Addr = []string{r.house.Addr()}
	must(collector.Migrate(ctx, direct))
	r.db, err = direct.ClickHouse.Open()
	must(err)
	t.Cleanup(func() { r.db.Close() })
	must(kafka.Config{Brokers: []string{r.kafka.Addr()}}.Check(ctx))
	t.Cleanup(r.stopChildren)
	for i := range r.collectors {
		r.listens[i], err = freeAddr(r.random)
		must(err)
		if i < 2 { // the third comes and goes
			must(r.startCollector(i))
		}
	}
	must(r.startGenerator())
	must(r.startEdge())
	watching, stop := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() { r.watchGrowth(watching); close(watched) }()
	t.Cleanup(func() { stop(); <-watched })
	return r
}

// freeAddr is an address to listen on, again and again: below the range from
// which outgoing connections take their ports.
func freeAddr(random *rand.Rand) (string, error) {
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+random.IntN(17000))
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no free port")
}

// stopChildren ends whatever runs.
func (r *rig) stopChildren() {
	r.mu.Lock()
	r.finishing = true
	all := append(r.collectors[:], r.generator, r.edge)
	r.mu.Unlock()
	for _, c := range all {
		if c != nil {
			c.kill()
		}
	}
	if r.t.Failed() {
		r.showLogs()
	}
}

// showLogs prints the end of what each child has said.
func (r *rig) showLogs() {
	files, _ := filepath.Glob(filepath.Join(r.dir, "*.log"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		r.t.Logf("%s ends with:\n%s", filepath.Base(f), text[max(0, len(text)-6000):])
	}
}

func (r *rig) startCollector(i int) error {
	role := "collector"
	s := r.s
	s.Listen = r.listens[i]
	if r.naive {
		role = "naive"
	}
	c, err := start(role, fmt.Sprintf("collector%d", i), s, r.dir)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.collectors[i] = c
	return err
}

func (r *rig) spoolDir(probe string) string { return filepath.Join(r.dir, "spool-"+probe) }

func (r *rig) startGenerator() error {
	s := r.s
	s.Dir = r.spoolDir(flowProbe)
	c, err := start("generator", "generator", s, r.dir)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generator = c
	go r.allow(c)
	return nil
}

// allow tells a generator how far it may go.
func (r *rig) allow(c *child) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-c.done:
			return
		case now := <-tick.C:
			r.mu.Lock()
			r.allowed = min(r.allowed+r.rate*now.Sub(last).Seconds(), r.limit)
			n := int(r.allowed)
			r.mu.Unlock()
			last = now
			if _, err := fmt.Fprintln(c.stdin, n); err != nil {
				return
			}
		}
	}
}

// startEdge starts the real probe on the capture that goes on.
func (r *rig) startEdge() error {
	s := r.s
	s.Dir = r.spoolDir(edgeProbe)
	c, err := start("probe", "probe", s, r.dir)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.edge = c
	go r.feed(c)
	return nil
}

// feed gives packets to a probe, about 1000 a second.
func (r *rig) feed(c *child) {
	if _, err := c.stdin.Write(edgeHeader()); err != nil {
		return
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
			r.mu.Lock()
			finishing, first := r.finishing, r.fed
			if !finishing {
				r.fed += 20
			}
			r.mu.Unlock()
			if finishing {
				c.once.Do(func() { c.stdin.Close() })
				return
			}
			var b []byte
			for n := range 20 {
				b = append(b, edgePacket(first+n)...)
			}
			if _, err := c.stdin.Write(b); err != nil {
				return
			}
		}
	}
}

// say puts a line into the test's log.
func (r *rig) say(format string, args ...any) {
	r.t.Logf("%7.2fs  %s", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// until polls until ok, and fails when that takes too long.
func (r *rig) until(what string, patience time.Duration, ok func() bool) error {
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s", what, patience)
		}
		if err := r.healthy(); err != nil {
			return err
		}
		wait(context.Background(), 20*time.Millisecond)
	}
	return nil
}

// healthy reports a child that has ended by itself.
func (r *rig) healthy() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range append(r.collectors[:], r.generator, r.edge) {
		if c != nil && c.gone() && c.err != nil && c.cmd.ProcessState.Exited() {
			return fmt.Errorf("%s ended by itself: %w", c.role, c.err)
		}
	}
	return nil
}

// stored is how many rows there are; -1 while nobody can say.
func (r *rig) stored() int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var n uint64
	if err := r.db.QueryRow(ctx, "SELECT count() FROM flows").Scan(&n); err != nil {
		return -1
	}
	return int(n)
}

// doubled says whether a row is stored twice.
func (r *rig) doubled() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var twice bool
	return r.db.QueryRow(ctx, "SELECT count() > uniqExact(probe, epoch, worker, seq, row) FROM flows").Scan(&twice) == nil && twice
}

// finish lets the generator and the probe come to their ends.
func (r *rig) finish() error {
	r.mu.Lock()
	r.finishing, r.limit, r.allowed = true, float64(r.flows), float64(r.flows)
	generator, edge := r.generator, r.edge
	r.mu.Unlock()
	r.say("the last flows")
	for _, c := range []*child{generator, edge} {
		if err := r.until("end of "+c.role, 3*time.Minute, c.gone); err != nil {
			return err
		}
		if c.err != nil {
			return fmt.Errorf("%s: %w", c.role, c.err)
		}
	}
	r.say("all is in Kafka")
	return nil
}

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/local/fault"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// plan says how much is to happen.
type plan struct {
	flows    int
	kills    int // of each of the victims
	cuts     int // inserts that are applied, but whose client never hears of it
	lostAcks int // produce requests of the same kind
	poisons  int
	naive    bool
	pace     time.Duration // for the flows of one event
}

var victims = []string{"generator", "probe", "collector", "kafka", "clickhouse"}

const (
	killTopic  = "killed"
	partitions = 4
	// insertStart and insertRest strike an insert once the names of its columns
	// have passed and its rows come.
	insertStart = "INSERT INTO flows ("
	insertRest  = 1400
)

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
	collectors      [2]*child
	listens         [2]string

	mu        sync.Mutex // guards what the pacing goroutines use
	generator *child
	edge      *child
	allowed   float64 // flows the generator may make so far
	rate      float64 // of them per second
	limit     float64
	fed       int // packets given to the probe
	finishing bool

	killed   map[string]int
	poisoned int
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
		killed: map[string]int{}, counted: map[string]float64{}, spooled: map[batchID][32]byte{}}
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
	var err error
	r.house, err = local.StartClickHouse(ctx, local.ClickHouseConfig{Dir: filepath.Join(r.dir, "clickhouse"), MaxMemory: 3 << 30, KeepFree: 128 << 20}, nil)
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
	direct := r.s.collector()
	direct.ClickHouse.Addr = []string{r.house.Addr()}
	must(collector.Migrate(ctx, direct))
	r.db, err = direct.ClickHouse.Open()
	must(err)
	t.Cleanup(func() { r.db.Close() })
	must(kafka.Config{Brokers: []string{r.kafka.Addr()}}.Check(ctx))
	t.Cleanup(r.stopChildren)
	for i := range r.collectors {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		r.listens[i] = l.Addr().String()
		l.Close()
		must(r.startCollector(i))
	}
	must(r.startGenerator())
	must(r.startEdge())
	return r
}

func (r *rig) stopChildren() {
	r.mu.Lock()
	r.finishing = true
	all := []*child{r.generator, r.edge, r.collectors[0], r.collectors[1]}
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
	for _, c := range []*child{r.generator, r.edge, r.collectors[0], r.collectors[1]} {
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

// harass lets all happen that is planned, in random order at random times, while
// flows flow.
func (r *rig) harass() error {
	var events []string
	for _, v := range victims {
		events = append(events, slices.Repeat([]string{v}, r.kills)...)
	}
	events = append(events, slices.Repeat([]string{"cut"}, r.cuts)...)
	events = append(events, slices.Repeat([]string{"lost ack"}, r.lostAcks)...)
	events = append(events, slices.Repeat([]string{"poison"}, r.poisons)...)
	r.random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	share := 0.9 * float64(r.flows) / float64(len(events)+1)
	last := -1
	for k, event := range events {
		r.mu.Lock()
		r.allowed = max(r.allowed, share*float64(k))
		r.limit, r.rate = share*float64(k+1), share/r.pace.Seconds()
		r.mu.Unlock()
		if r.random.IntN(4) > 0 { // else hit it while it is down
			from := last
			if err := r.until("progress before "+event, 45*time.Second, func() bool { last = r.stored(); return last > from }); err != nil {
				return err
			}
		}
		wait(context.Background(), time.Duration(r.random.Int64N(int64(r.pace))))
		if err := r.do(event); err != nil {
			return fmt.Errorf("%s: %w", event, err)
		}
	}
	return r.topUp()
}

func (r *rig) do(event string) error {
	switch event {
	case "cut":
		r.say("the next insert will be applied without a word (%d so far)", r.cutInserts())
		r.toRows.SwallowReplies(insertStart, insertRest, 1)
		return nil
	case "lost ack":
		r.say("the next acknowledgement of Kafka gets lost (%d so far)", r.lostProduces())
		r.toKafka.SwallowReplies(generatorKey, 0, 1)
		return nil
	case "poison":
		return r.poison()
	}
	r.killed[event]++
	r.say("kill -9 %s (%d)", event, r.killed[event])
	switch event {
	case "generator":
		if err := r.strike(r.generator, flowProbe); err != nil {
			return err
		}
		return r.startGenerator()
	case "probe":
		if err := r.strike(r.edge, edgeProbe); err != nil {
			return err
		}
		return r.startEdge()
	case "collector":
		i := r.random.IntN(2)
		r.scrape(i)
		if err := r.strike(r.collectors[i], ""); err != nil {
			return err
		}
		wait(context.Background(), time.Duration(r.random.Int64N(int64(200*time.Millisecond))))
		return r.startCollector(i)
	case "kafka":
		return r.killKafka()
	case "clickhouse":
		restarts := r.house.Restarts()
		if err := r.until("clickhouse process", time.Minute, func() bool { return r.house.PID() != 0 }); err != nil {
			return err
		}
		if err := syscall.Kill(r.house.PID(), syscall.SIGKILL); err != nil {
			return err
		}
		return r.until("restart of clickhouse", time.Minute, func() bool { return r.house.Restarts() > restarts && r.house.PID() != 0 })
	}
	return errors.New("no such event")
}

func (r *rig) killKafka() error {
	if err := r.kafka.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return r.kafka.Restart(ctx)
}

// strike kills a child, which must be at work, and remembers what its spool holds.
func (r *rig) strike(c *child, probe string) error {
	if c.gone() {
		return fmt.Errorf("%s had ended by itself: %w", c.role, c.err)
	}
	c.kill()
	if probe == "" {
		return nil
	}
	return r.inspect(probe)
}

// inspect notes the batches that wait in a dead probe's spool: they were
// accepted, so they have to arrive, byte for byte.
func (r *rig) inspect(probe string) error {
	cfg := spool.DefaultConfig()
	cfg.Dir, cfg.MaxBytes = r.spoolDir(probe), spoolBytes
	s, err := spool.Open(cfg, nil, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range s.Stats().Records {
		rec, _, err := s.Next(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("read spool of %s: %w", probe, err), s.Close())
		}
		r.spooled[batchID{probe, rec.Meta.Epoch, rec.Meta.Worker, rec.Meta.Seq}] = sha256.Sum256(rec.Value)
	}
	if d := s.Dropped(); len(d) > 0 {
		return errors.Join(fmt.Errorf("the spool of %s has dropped %v", probe, d), s.Close())
	}
	return s.Close()
}

// cutInserts is how many inserts were applied whose reply was swallowed: the
// server's last word was the end of the stream (5 in the native protocol).
func (r *rig) cutInserts() int {
	n := 0
	for _, reply := range r.toRows.LostReplies() {
		if len(reply) > 0 && reply[len(reply)-1] == 5 {
			n++
		}
	}
	return n
}

// lostProduces is how many produce requests succeeded whose answer was
// swallowed: after the topic stand a count, the partition and the error, 0.
func (r *rig) lostProduces() int {
	n := 0
	for _, reply := range r.toKafka.LostReplies() {
		if _, rest, ok := bytes.Cut(reply, []byte(killTopic)); ok && len(rest) >= 10 && binary.BigEndian.Uint16(rest[8:]) == 0 {
			n++
		}
	}
	return n
}

// topUp repeats what did not come off, because something else was just dead.
func (r *rig) topUp() error {
	r.mu.Lock()
	r.limit, r.rate = 0.98*float64(r.flows), float64(r.flows)/200
	r.mu.Unlock()
	for _, again := range []struct {
		event  string
		wanted int
		have   func() int
	}{{"cut", r.cuts, r.cutInserts}, {"lost ack", r.lostAcks, r.lostProduces}} {
		for tries := 0; again.have() < again.wanted; tries++ {
			if tries == 20 {
				return fmt.Errorf("%s: %d of %d have come off", again.event, again.have(), again.wanted)
			}
			before := again.have()
			if err := r.do(again.event); err != nil {
				return err
			}
			_ = r.until(again.event, 15*time.Second, func() bool { return again.have() > before }) // tried again
		}
	}
	return nil
}

// poison forces the state in which a server that died at the wrong moment
// leaves an insert: its token is known, its rows are not there.
func (r *rig) poison() error {
	for range 5 {
		before := r.cutInserts()
		r.toRows.SwallowReplies(insertStart, insertRest, 2)
		if err := r.until("an insert to poison", 30*time.Second, func() bool { return r.cutInserts() > before }); err != nil {
			return err
		}
		r.toRows.SwallowReplies("", 0, 0)
		// Nobody may find the rows before they are gone.
		for i, c := range r.collectors {
			r.scrape(i)
			if err := r.strike(c, ""); err != nil {
				return err
			}
			r.killed["collector"]++
		}
		rows, err := r.removeUnfinished()
		if err != nil {
			return err
		}
		r.say("poison: both collectors killed, %d rows of unfinished blocks removed", rows)
		// A new broker has forgotten the dead members of the group.
		r.killed["kafka"]++
		if err := r.killKafka(); err != nil {
			return err
		}
		healed := r.metric("poisoned_tokens_total")
		for i := range r.collectors {
			if err := r.startCollector(i); err != nil {
				return err
			}
		}
		if rows == 0 {
			continue
		}
		if r.naive {
			return nil
		}
		if err := r.until("healing of a poisoned token", time.Minute, func() bool { return r.metric("poisoned_tokens_total") > healed }); err != nil {
			return err
		}
		r.poisoned += int(r.metric("poisoned_tokens_total") - healed)
		r.say("poison: healed")
		return nil
	}
	return errors.New("no insert was caught")
}

// unfinished are rows of blocks that nobody has confirmed.
const unfinished = "(probe, epoch, worker, seq) NOT IN (SELECT probe, epoch, worker, seq FROM batches)"

// removeUnfinished deletes the rows of blocks whose collector was killed on the
// way, and returns how many there were.
func (r *rig) removeUnfinished() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var running, rows, left uint64
	if err := r.until("end of inserts", time.Minute, func() bool {
		err := r.db.QueryRow(ctx, "SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'").Scan(&running)
		return err == nil && running == 0
	}); err != nil {
		return 0, err
	}
	if err := r.db.QueryRow(ctx, "SELECT count() FROM flows WHERE "+unfinished).Scan(&rows); err != nil {
		return 0, err
	}
	if rows == 0 {
		return 0, nil
	}
	if err := r.db.Exec(ctx, "ALTER TABLE flows DELETE WHERE "+unfinished+" SETTINGS mutations_sync = 2"); err != nil {
		return 0, err
	}
	if err := r.db.QueryRow(ctx, "SELECT count() FROM flows WHERE "+unfinished).Scan(&left); err != nil {
		return 0, err
	}
	if left > 0 {
		return 0, fmt.Errorf("%d of %d rows are still there", left, rows)
	}
	return int(rows), nil
}

const storeMetrics = "tapwatch_collector_store_"

// scrape adds the counters of a collector that is about to be killed.
func (r *rig) scrape(i int) {
	for name, v := range r.read(i) {
		r.counted[name] += v
	}
}

// metric is a counter of all collectors there have been, as far as anybody
// could read it before they were killed.
func (r *rig) metric(name string) float64 {
	sum := r.counted[name]
	for i := range r.collectors {
		sum += r.read(i)[name]
	}
	return sum
}

// read returns the plain store counters of a collector.
func (r *rig) read(i int) map[string]float64 {
	all := map[string]float64{}
	if r.naive || r.collectors[i].gone() {
		return all
	}
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + r.listens[i] + "/metrics")
	if err != nil {
		return all
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return all
	}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if name, ours := strings.CutPrefix(name, storeMetrics); ok && ours {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				all[name] = v
			}
		}
	}
	return all
}

// finish lets the generator and the probe come to their ends.
func (r *rig) finish() error {
	r.toKafka.SwallowReplies("", 0, 0)
	r.toRows.SwallowReplies("", 0, 0)
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

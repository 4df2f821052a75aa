// Package chaos lets happen to the whole chain what happens to such chains, and
// then compares what is stored with what was made: every flow, in every column,
// once; what `batches` tells of every message; every sum of the rollups.
//
// faults_test.go is the list of what happens, kills_test.go, disk_test.go and
// messages_test.go how. rig_test.go and children_test.go are the processes,
// generator_test.go and flows_test.go the flows, compare_test.go and
// sums_test.go the comparison. naive_test.go is the collector that one would
// write first, in which the same rig has to find what is wrong.
package chaos

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/fault"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) {
	runChildIfAsked()
	localtest.Main(m)
}

// full says that the long form of the test is wanted: hundreds of faults.
func full() bool { return os.Getenv("TAPWATCH_E2E") == "full" }

// Flows stored = flows accepted, none twice, none altered, and rollups equal to
// them, whatever happens on the way. TAPWATCH_SEED repeats a run's faults, and
// TAPWATCH_FAULTS, of the long form, is how many of them there are, about.
func TestChaos(t *testing.T) {
	p := plan{flows: 8_000, kinds: kinds(), pace: 250 * time.Millisecond}
	if full() {
		p.flows, p.pace = 150_000, 500*time.Millisecond
		if text := os.Getenv("TAPWATCH_FAULTS"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				t.Fatalf("TAPWATCH_FAULTS: %q is not a number of faults", text)
			}
			p.scale = float64(n) / 541
			p.flows = int(float64(p.flows) * p.scale)
		}
	}
	r := newRig(t, p)
	f := r.run()
	healed := r.waitForRollup(f)
	starts, seen, inRows, err := r.compareEdge(f)
	if err != nil {
		t.Fatal(err)
	}
	r.report(f)
	t.Logf("real probe: %d starts told of %d packets; %d packets of the %d on the wire are in rows", starts, seen, inRows, r.fed)
	t.Logf("rollups equal to raw after %s", healed.Round(10*time.Millisecond))
	if f.wrong() {
		t.Errorf("the store is not what was published")
	}
	happened := 0
	for name, n := range r.planned {
		if happened += r.done[name]; r.done[name] < n {
			t.Errorf("%s: %d times only, of %d", name, r.done[name], n)
		}
	}
	if full() && p.scale == 0 && happened < 500 && len(r.cannot) == 0 {
		t.Errorf("only %d faults", happened)
	}
	if f.published < p.flows {
		t.Errorf("only %d flows were published", f.published)
	}
	for i, c := range r.collectors {
		if c == nil {
			continue
		}
		if err := c.end(12 * time.Second); err != nil {
			t.Errorf("collector %d: %v", i, err)
		}
	}
	if !t.Failed() {
		r.spoil()
	}
}

// The rig finds what a plain retry does wrong. Were it to find nothing, TestChaos
// would prove nothing. Lost replies are enough for that; a plain reader of a
// group needs minutes to get over what else happens there.
func TestNaiveCollectorIsCaught(t *testing.T) {
	lost := strike("insert: reply lost", 3, 3, func(r *rig) *fault.Proxy { return r.toRows }, fault.Swallow, insertStart, insertRest, insertRest)
	r := newRig(t, plan{flows: 5_000, kinds: []kind{lost}, naive: true, pace: 500 * time.Millisecond})
	f := r.run()
	r.report(f)
	if f.double == 0 {
		t.Error("a consumer that inserts and tries again was found to store nothing twice")
	}
}

// run goes through the plan, waits until all is quiet, and compares.
func (r *rig) run() *findings {
	r.t.Helper()
	fatal := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	fatal(r.harass())
	fatal(r.finish())
	f := newFindings()
	all, err := r.readKafka(f)
	fatal(err)
	r.inKafka = all
	fatal(r.compareAccepted(all, f))
	var told string
	// A naive collector has shown what it is when a row is there twice.
	if err := r.until("all messages stored", 2*time.Minute, func() (ok bool) { ok, told = r.settled(f.messages); return ok || r.naive && r.doubled() }); err != nil {
		r.t.Fatalf("%v: %s", err, told)
	}
	r.say("all is stored")
	if r.naive { // it tries again when its time is up
		_ = r.until("rows stored twice", 2*r.s.RequestTimeout, r.doubled)
	}
	fatal(r.compareRows(all, f))
	if !r.naive {
		fatal(r.compareBatches(all, f))
		fatal(r.checkParts(f))
	}
	return f
}

// waitForRollup gives the rollups time to become equal to the raw rows, and
// returns how long it took: seconds on a quiet machine, minutes where builds have
// to share it with much else.
func (r *rig) waitForRollup(f *findings) time.Duration {
	began := time.Now()
	var different string
	var err error
	if r.until("rollup", 4*time.Minute, func() bool { different, err = r.compareRollup(); return err == nil && different == "" }) != nil {
		f.note("flows_1m is not equal to flows: %s (%v)", different, err)
	}
	return time.Since(began)
}

// report prints the table.
func (r *rig) report(f *findings) {
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "%-40s %10v\n", name, value) }
	total := 0
	for _, k := range r.kinds {
		if why := r.cannot[k.name]; why != "" {
			line(k.name, why)
			continue
		}
		line(k.name, r.done[k.name])
		total += r.done[k.name]
	}
	line("faults", total)
	if !r.naive {
		line("poisoned tokens healed", r.metric("store_poisoned_tokens_total"))
		line("inserts dropped by token, at least", r.metric("store_dedup_hits_total"))
		line("inserts verified, at least", r.metric("store_verifications_total"))
		line("rows found present, at least", r.metric("store_present_rows_total"))
		line("rows of twins removed, at least", r.metric("store_twin_rows_total"))
		line("blocks repeated, at least", r.metric("consume_repeated_blocks_total"))
		line("blocks suspect, at least", r.metric("consume_suspect_blocks_total"))
		line("commits refused, at least", r.metric("consume_fenced_commits_total"))
	}
	line("longest time without a new row", &r.pauses)
	line("messages", f.messages)
	for _, status := range []string{"stored", "duplicate", "quarantined", "expired"} {
		line("  "+status, f.ledger[status])
	}
	line("batches", f.batches)
	line("  killed before the spool answered", f.maybe)
	line("  found in the spool after a kill", f.waiting)
	line("flows published", f.published)
	line("rows stored", f.stored)
	line("  missing", f.missing)
	line("  double", f.double)
	line("  altered", f.altered)
	line("  of nobody", f.stray)
	r.t.Logf("TAPWATCH_SEED=%d, %s\n%s", r.seed, time.Since(r.began).Round(time.Millisecond), b.String())
	for _, o := range f.other {
		r.t.Logf("difference: %s", o)
	}
}

// spoil alters a row, doubles another and removes a third: the comparison has to
// find just these.
func (r *rig) spoil() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var row [3]string
	for i := range row {
		err := r.db.QueryRow(ctx, `SELECT format('probe = \'{}\' AND epoch = {} AND worker = {} AND seq = {} AND row = {}', probe, toString(epoch), toString(worker), toString(seq), toString(row))
			FROM flows WHERE probe = ? ORDER BY cityHash64(epoch, worker, seq, row) LIMIT 1 OFFSET ?`, flowProbe, i).Scan(&row[i])
		if err != nil {
			r.t.Fatal(err)
		}
	}
	for _, sql := range []string{
		"ALTER TABLE flows UPDATE dst_rtt_us = bitXor(dst_rtt_us, 1) WHERE " + row[0] + " SETTINGS mutations_sync = 2",
		"INSERT INTO flows SELECT * FROM flows WHERE " + row[1] + " SETTINGS async_insert = 0, insert_deduplicate = 0",
		"ALTER TABLE flows DELETE WHERE " + row[2] + " SETTINGS mutations_sync = 2",
	} {
		if err := r.db.Exec(ctx, sql); err != nil {
			r.t.Fatal(err)
		}
	}
	f := newFindings()
	if err := r.compareRows(r.inKafka, f); err != nil {
		r.t.Fatal(err)
	}
	if f.altered != 1 || f.double != 1 || f.missing != 1 || f.stray != 0 {
		r.t.Errorf("of a row altered, one doubled and one removed, the comparison finds %d, %d and %d", f.altered, f.double, f.missing)
	}
	if different, err := r.compareRollup(); err != nil || different == "" {
		r.t.Errorf("the rollup is equal to rows that it was not made of (%v)", err)
	}
}

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Flows stored = flows accepted, none twice, none altered, and rollups equal to
// them, whatever is killed on the way.
func TestKill(t *testing.T) {
	p := plan{flows: 20_000, kills: 2, cuts: 2, halves: 2, lostAcks: 2, poisons: 1, pace: 700 * time.Millisecond}
	if full() {
		p = plan{flows: 200_000, kills: 12, cuts: 12, halves: 12, lostAcks: 12, poisons: 2, pace: 1500 * time.Millisecond}
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
	t.Logf("rollup equal to raw after %s", healed.Round(10*time.Millisecond))
	if f.wrong() {
		t.Errorf("the store is not what was published")
	}
	for _, v := range victims {
		if r.killed[v] < p.kills {
			t.Errorf("%s was killed %d times only", v, r.killed[v])
		}
	}
	if r.cutsLeft() > 0 || r.lostProduces() < p.lostAcks || r.poisoned < p.poisons {
		t.Errorf("%d cuts are missing; only %d lost acknowledgements, %d poisoned tokens", r.cutsLeft(), r.lostProduces(), r.poisoned)
	}
	if n := r.toRows.RequestsCut(); n < p.halves {
		t.Errorf("only %d inserts were cut on the way", n)
	}
	if f.published < p.flows {
		t.Errorf("only %d flows were published", f.published)
	}
	for i, c := range r.collectors {
		if err := c.end(30 * time.Second); err != nil {
			t.Errorf("collector %d: %v", i, err)
		}
	}
	if !t.Failed() {
		r.spoil()
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
	f := &findings{}
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

// The rig finds what a plain retry does wrong. Were it to find nothing, TestKill
// would prove nothing. Lost replies are enough for that; a plain reader of a
// group needs minutes to get over what else TestKill does.
func TestKillNaiveRigFails(t *testing.T) {
	r := newRig(t, plan{flows: 5_000, cuts: 3, naive: true, pace: 500 * time.Millisecond})
	f := r.run()
	r.report(f)
	if f.missing+f.double+f.altered+f.stray == 0 {
		t.Error("a consumer that inserts and tries again was found to be exactly once")
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
	f := &findings{}
	all, err := r.readKafka(f)
	fatal(err)
	r.inKafka = all
	fatal(r.compareAccepted(all, f))
	var told string
	if err := r.until("all messages stored", 2*time.Minute, func() (ok bool) { ok, told = r.settled(f.messages); return ok }); err != nil {
		r.t.Fatalf("%v: %s", err, told)
	}
	r.say("all is stored")
	if r.naive { // it tries again when its time is up
		_ = r.until("rows stored twice", 2*r.s.RequestTimeout, func() bool { return r.stored() > f.published })
	}
	fatal(r.compareRows(all, f))
	if !r.naive {
		fatal(r.compareBatches(all, f))
	}
	return f
}

// waitForRollup gives the rollup a minute to become equal to the raw rows, and
// returns how long it took.
func (r *rig) waitForRollup(f *findings) time.Duration {
	began := time.Now()
	var different string
	var err error
	if r.until("rollup", time.Minute, func() bool { different, err = r.compareRollup(); return err == nil && different == "" }) != nil {
		f.note("flows_1m is not equal to flows: %s (%v)", different, err)
	}
	return time.Since(began)
}

// report prints the table.
func (r *rig) report(f *findings) {
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "%-36s %10v\n", name, value) }
	for _, v := range victims {
		line("kill -9 "+v, r.killed[v])
	}
	line("inserts applied, reply lost", r.cutInserts())
	line("inserts cut on the way", r.toRows.RequestsCut())
	line("produce acknowledgements lost", r.lostProduces())
	line("poisoned tokens healed", r.poisoned)
	if !r.naive {
		line("inserts dropped by token, at least", r.metric("dedup_hits_total"))
		line("inserts verified, at least", r.metric("verifications_total"))
	}
	line("longest time without a new row", &r.pauses)
	line("batches", f.batches)
	line("  published twice", f.messages-f.batches)
	line("  killed before the spool answered", f.maybe)
	line("  found in the spool after a kill", f.waiting)
	line("flows published", f.published)
	line("rows stored", f.stored)
	line("  missing", f.missing)
	line("  double", f.double)
	line("  altered", f.altered)
	line("  of nobody", f.stray)
	r.t.Logf("seed %d, %s\n%s", r.seed, time.Since(r.began).Round(time.Millisecond), b.String())
	for _, o := range f.other {
		r.t.Logf("difference: %s", o)
	}
}

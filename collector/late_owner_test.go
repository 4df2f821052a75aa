package collector_test

import (
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/local/fault"
)

// TestLateOwner: an owner is stopped between its promise and its insert; meanwhile
// Kafka forgets the group, promise and all, and somebody else stores the messages
// in other blocks. When it wakes up, it must not write its own.
func TestLateOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	late := r.cfg
	p := proxied(t, &late)
	late.Rollup.Interval = 0
	metric := r.serveMetrics(&late)
	p.Strike(fault.Cut, "INSERT INTO flows (", 0, 1<<30)
	g := newGenerator(1, "a")
	var values [][]byte
	for range 6 {
		values = append(values, g.batch(t, 100, monday, time.Minute))
	}
	produce(t, r.client, r.cfg.Topic, 0, values...)
	cmd := r.process(late)
	wait := func(what string, patience time.Duration, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !done(); pause(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within %s", what, patience)
			}
		}
	}
	wait("an insert", 40*time.Second, func() bool { return p.Struck(fault.Cut) > 0 })
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	wait("the end of the group", 40*time.Second, func() bool {
		answer, err := r.client.DeleteGroups(t.Context(), &kafkago.DeleteGroupsRequest{GroupIDs: []string{r.cfg.Group}})
		return err == nil && answer.Errors[r.cfg.Group] == nil
	})
	cfg := r.cfg
	cfg.Block.MaxRows = 250
	r.start(cfg)
	r.exactly(values...)
	p.Strike(fault.Cut, "", 0, 0)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wait("a word of the one that was stopped", 30*time.Second, func() bool {
		return r.count("SELECT count() FROM flows") != 600 || metric("tapwatch_collector_consume_fenced_commits_total") > 0
	})
	if n := r.count("SELECT count() FROM flows"); n != 600 {
		t.Fatalf("%d rows, want 600: the late owner has written", n)
	}
	r.exactly(values...)
}

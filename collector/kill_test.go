package collector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/collector"
)

// childEnv makes this test binary a collector, with the Config in it as JSON (of
// which no field is a secret).
const childEnv = "TAPWATCH_TEST_COLLECTOR"

func child(text string) {
	var cfg collector.Config
	err := json.Unmarshal([]byte(text), &cfg)
	if err == nil {
		err = collector.Run(context.Background(), cfg)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// process starts a collector that can be killed.
func (r *rig) process(cfg collector.Config) *exec.Cmd {
	r.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		r.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// rest returns how many flows there are once the server has finished what a dead
// collector began.
func (r *rig) rest() uint64 {
	r.Helper()
	for {
		n := r.count("SELECT count() FROM flows")
		pause(time.Second)
		if r.count("SELECT count() FROM flows") == n {
			return n
		}
	}
}

// TestKilled: the collector itself dies of kill -9 at any moment after it joined
// its group. The broker under test keeps a member for ever that died while joining:
// its session begins with an answer that nobody took; Kafka's ends all the same.
func TestKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	cfg := r.cfg
	cfg.Block.MaxWait = 20 * time.Millisecond
	values := load(t, 60, 300)
	rnd := rand.New(rand.NewPCG(9, 9))
	next := 0
	for range 2 { // each costs a session of the group, 10 s
		cfg.Block.MaxRows = 400 + rnd.IntN(2000)
		before := r.rest()
		cmd := r.process(cfg)
		for range 30 {
			produce(t, r.client, cfg.Topic, next%2, values[next])
			next++
		}
		r.until(fmt.Sprintf("SELECT toUInt64(count() > %d) FROM flows", before), 1, 40*time.Second)
		pause(time.Duration(rnd.IntN(40)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}
	r.start(cfg)
	r.exactly(values...)
}

// TestTopicMadeAnew: offsets begin again while the group is at later ones.
func TestTopicMadeAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	g := newGenerator(1, "a")
	var values [][]byte
	for range 5 {
		values = append(values, g.batch(t, 50, monday, time.Minute))
	}
	produce(t, r.client, r.cfg.Topic, 0, values[:3]...)
	stop := r.start(r.cfg)
	r.exactly(values[:3]...)
	stop()
	answer, err := r.client.DeleteTopics(t.Context(), &kafkago.DeleteTopicsRequest{Topics: []string{r.cfg.Topic}})
	if err == nil {
		err = answer.Errors[r.cfg.Topic]
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cfg.Kafka.EnsureTopic(t.Context(), r.cfg.Topic, 1, 1, nil); err != nil {
		t.Fatal(err)
	}
	// One of them has been stored before.
	for _, v := range values[2:] {
		r.produceAt(time.Now(), v)
	}
	r.start(r.cfg)
	r.exactly(values...)
	r.want("SELECT count() FROM batches FINAL WHERE status = 'duplicate'", 1)
}

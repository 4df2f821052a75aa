package chaos

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/fault"
)

// kind is a kind of fault: how often it happens in the two forms of the test,
// and what it is. do returns errMissed when it did not come off, because
// something else was just dead; it is tried again then.
type kind struct {
	name        string
	short, full int
	do          func(*rig) error
	needs       func(*rig) string // why it cannot be done here; nil: it always can
}

var errMissed = errors.New("it has not come off")

// kinds are all faults there are, in the order of the table that is printed.
func kinds() []kind {
	clickhouse := func(r *rig) *fault.Proxy { return r.toRows }
	kafka := func(r *rig) *fault.Proxy { return r.toKafka }
	const batches, looks = "INSERT INTO batches (", "FROM batches"
	return []kind{
		{name: "kill -9 generator", short: 1, full: 14, do: (*rig).killGenerator},
		{name: "kill -9 probe", short: 0, full: 10, do: (*rig).killEdge},
		{name: "kill -9 collector", short: 1, full: 24, do: (*rig).killCollector},
		{name: "kill -9 kafka", short: 1, full: 14, do: (*rig).killKafka},
		{name: "kill -9 clickhouse", short: 1, full: 24, do: (*rig).killClickHouse},
		{name: "poisoned token", short: 1, full: 4, do: (*rig).poison},

		{name: "collector stopped, up to 3 s", short: 1, full: 20, do: func(r *rig) error { return r.stopCollector(300*time.Millisecond, 3*time.Second) }},
		{name: "collector stopped beyond its session", full: 20, do: func(r *rig) error { return r.stopCollector(11*time.Second, 15*time.Second) }},
		{name: "clickhouse stopped beyond the time-out", short: 0, full: 12, do: func(r *rig) error {
			return r.stop("clickhouse", r.house.PID(), 3500*time.Millisecond, 5*time.Second)
		}},
		{name: "kafka stopped, up to 4 s", full: 12, do: func(r *rig) error { return r.stop("kafka", r.kafka.PID(), 300*time.Millisecond, 4*time.Second) }},
		{name: "collector comes or goes", short: 1, full: 40, do: (*rig).rebalance},

		strike("insert: reply lost", 1, 30, clickhouse, fault.Swallow, insertStart, insertRest, insertRest),
		strike("insert: cut in its statement", 1, 15, clickhouse, fault.Cut, insertStart, 0, insertRest),
		strike("insert: cut in its rows", 0, 30, clickhouse, fault.Cut, insertStart, insertRest, insertRest+6000),
		strike("insert: reset in its rows", 1, 30, clickhouse, fault.Reset, insertStart, insertRest, insertRest+6000),
		strike("insert: hangs in its rows", 0, 10, clickhouse, fault.Hold, insertStart, insertRest, insertRest+6000),
		strike("batches: reply lost", 0, 20, clickhouse, fault.Swallow, batches, 1500, 1500),
		strike("batches: reset", 1, 20, clickhouse, fault.Reset, batches, 0, 2500),
		strike("look at batches: reply lost", 0, 10, clickhouse, fault.Swallow, looks, 0, 0),
		link("clickhouse", 1, 8, clickhouse),
		strike("produce: acknowledgement lost", 1, 30, kafka, fault.Swallow, generatorKey, 0, 0),
		strike("produce: cut", 0, 20, kafka, fault.Cut, generatorKey, 0, 3000),
		strike("produce: reset", 1, 20, kafka, fault.Reset, generatorKey, 0, 3000),
		strike("produce: hangs", 0, 6, kafka, fault.Hold, generatorKey, 0, 3000),
		link("kafka", 0, 8, kafka),

		{name: "rename fails (EIO)", full: 8, needs: canTrace, do: func(r *rig) error { return r.inject("rename,renameat,renameat2", "error=EIO", "") }},
		{name: "rename fails, then kill -9", full: 6, needs: canTrace, do: func(r *rig) error { return r.inject("rename,renameat,renameat2", "error=EIO:signal=SIGKILL", "") }},
		{name: "log of tokens: no space (ENOSPC)", full: 6, needs: canTrace, do: func(r *rig) error { return r.inject("write,pwrite64", "error=ENOSPC", tokenLog) }},
		{name: "fsync fails (EIO)", full: 4, needs: canTrace, do: func(r *rig) error { return r.inject("fsync,fdatasync", "error=EIO", "") }},
		{name: "disk at its reserve", short: 1, full: 4, needs: ownDisk, do: func(r *rig) error { return r.fillDisk(false) }},
		{name: "disk full", full: 4, needs: ownDisk, do: func(r *rig) error { return r.fillDisk(true) }},

		{name: "message that cannot be decoded", short: 1, full: 20, do: (*rig).junk},
		{name: "batch in two partitions at once", short: 1, full: 12, do: (*rig).twins},
		{name: "old batch in another partition", short: 1, full: 10, do: (*rig).crosspost},
		{name: "message older than retention", short: 1, full: 4, do: (*rig).expired},
		{name: "clock of the probe jumps", short: 1, full: 12, do: (*rig).skewClock},
	}
}

// strike is what happens to one connection between lo and hi octets after word.
func strike(name string, short, full int, proxy func(*rig) *fault.Proxy, how fault.Strike, word string, lo, hi int) kind {
	return kind{name: name, short: short, full: full, do: func(r *rig) error {
		p := proxy(r)
		before := p.Struck(how)
		p.Strike(how, word, lo+r.random.IntN(hi-lo+1), 1)
		defer p.Strike(how, "", 0, 0)
		r.more()
		return r.comesOff(8*time.Second, func() bool { return p.Struck(how) > before })
	}}
}

// link is what happens to all connections to a server.
func link(name string, short, full int, proxy func(*rig) *fault.Proxy) kind {
	return kind{name: "link to " + name + " cut, slow or refused", short: short, full: full, do: func(r *rig) error {
		p, d := proxy(r), time.Duration(300+r.random.IntN(1200))*time.Millisecond
		switch r.random.IntN(3) {
		case 0:
			if p.Cut() == 0 {
				return errMissed
			}
		case 1:
			p.Delay(time.Duration(20+r.random.IntN(300)) * time.Millisecond)
			wait(context.Background(), d)
			p.Delay(0)
		case 2:
			p.Refuse(true)
			p.Cut()
			wait(context.Background(), d)
			p.Refuse(false)
		}
		return nil
	}}
}

// comesOff waits for a fault to happen.
func (r *rig) comesOff(patience time.Duration, done func() bool) error {
	for deadline := time.Now().Add(patience); !done(); wait(context.Background(), 10*time.Millisecond) {
		if time.Now().After(deadline) {
			return errMissed
		}
		if err := r.healthy(); err != nil {
			return err
		}
	}
	return nil
}

// more lets some more flows flow, for a fault that needs one.
func (r *rig) more() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = min(r.limit+r.share/2, 0.98*float64(r.flows))
}

// harass lets all happen that is planned, in random order at random times, while
// flows flow.
func (r *rig) harass() error {
	var events []kind
	for _, k := range r.kinds {
		n := k.short
		if full() {
			n = k.full
		}
		if k.needs != nil {
			if why := k.needs(r); why != "" {
				r.cannot[k.name] = why
				continue
			}
		}
		if r.scale > 0 {
			n = int(math.Ceil(float64(n) * r.scale))
		}
		r.planned[k.name] = n
		events = append(events, slices.Repeat([]kind{k}, n)...)
	}
	r.random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	// What has to be tried again needs flows as well, up to two thirds of what is planned.
	r.share = 0.6 * float64(r.flows) / float64(len(events)+1)
	last, missed := -1, map[string]int{}
	for n := 0; len(events) > 0; n++ {
		k := events[0]
		events = events[1:]
		r.mu.Lock()
		r.allowed = max(r.allowed, min(r.limit, r.share*float64(n)))
		r.limit, r.rate = min(r.share*float64(n+1), 0.98*float64(r.flows)), max(r.share/r.pace.Seconds(), 50)
		r.mu.Unlock()
		if r.random.IntN(4) > 0 { // else hit it while it is down
			from := last
			if err := r.until("progress before "+k.name, 3*time.Minute, func() bool { last = r.stored(); return last > from }); err != nil {
				return fmt.Errorf("%w: %d rows before and %d now, %d restarts of clickhouse", err, from, last, r.house.Restarts())
			}
		}
		wait(context.Background(), time.Duration(r.random.Int64N(int64(r.pace))))
		r.pauses.note(k.name)
		switch err := k.do(r); {
		case errors.Is(err, errMissed):
			if missed[k.name]++; missed[k.name] > 3*r.planned[k.name]+5 {
				return fmt.Errorf("%s: %d times %w", k.name, missed[k.name], err)
			}
			events = slices.Insert(events, r.random.IntN(len(events)+1), k)
		case err != nil:
			return fmt.Errorf("%s: %w", k.name, err)
		default:
			r.done[k.name]++
			r.say("%s (%d)", k.name, r.done[k.name])
		}
	}
	r.awake.Wait()
	if full() {
		return nil
	}
	// A broker that starts has forgotten the dead members of the group: without
	// this, a short run ends with half a minute of waiting for them.
	return r.killKafka()
}

// stop holds a process up for a while, and goes on meanwhile.
func (r *rig) stop(name string, pid int, least, most time.Duration) error {
	if pid == 0 {
		return errMissed
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return errMissed
	}
	d := least + time.Duration(r.random.Int64N(int64(most-least)+1))
	r.awake.Add(1)
	time.AfterFunc(d, func() {
		defer r.awake.Done()
		syscall.Kill(pid, syscall.SIGCONT)
	})
	return nil
}

func (r *rig) stopCollector(least, most time.Duration) error {
	i := r.random.IntN(len(r.collectors))
	if r.collectors[i] == nil || r.collectors[i].gone() {
		return errMissed
	}
	return r.stop(fmt.Sprint("collector", i), r.collectors[i].cmd.Process.Pid, least, most)
}

// rebalance ends one collector in order, or starts one that is not there.
func (r *rig) rebalance() error {
	there := 0
	for _, c := range r.collectors {
		if c != nil {
			there++
		}
	}
	for _, i := range r.random.Perm(len(r.collectors)) {
		switch {
		case r.collectors[i] == nil:
			return r.startCollector(i)
		case there == len(r.collectors):
			r.scrape(i)
			c := r.collectors[i]
			r.mu.Lock()
			r.collectors[i] = nil
			r.mu.Unlock()
			syscall.Kill(c.cmd.Process.Pid, syscall.SIGCONT)
			return c.end(12 * time.Second)
		}
	}
	return errMissed
}

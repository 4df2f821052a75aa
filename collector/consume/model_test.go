package consume

import (
	"fmt"
	"hash/maphash"
	"os"
	"testing"
	"time"
)

// This is the protocol as a state machine small enough to go through every state
// there is: Machine itself, around it what store does with a block, and a server
// that can die between writing down a token and showing the rows. README.md tells
// the argument by these steps.

const (
	modelMessages = 3 // in one partition, in the full form; else 2
	modelOwners   = 2 // the one the group knows, and one that does not know yet
	modelInserts  = 3 // under way at once
	modelTokens   = 4 // of one block: the plain one, #1, #2, #3
)

// phase is where an owner is within the step Store, or that it is not in it.
type phase uint8

const (
	idle    phase = iota // Gather and Promise are Machine's
	mark                 // leave out what batches tells of
	present              // suspect: leave out what has rows
	look                 // in doubt: are all there already?
	send                 // confirm, and send the insert
	await                // its answer
	count                // after doubt: are its rows there?
	calm                 // none: is an attempt at work?
	tell                 // batches
)

func (p phase) String() string {
	return [...]string{"idle", "mark", "present", "look", "send", "await", "count", "calm", "tell"}[p]
}

type modelOwner struct {
	alive  bool
	m      Machine
	phase  phase
	token  uint8
	mask   uint8 // messages to insert
	doubt  bool
	second bool // the next count is the second one
}

// modelInsert is an insert that has left its client.
type modelInsert struct {
	used     bool
	owner    int8 // who waits for the answer, -1 nobody
	from, to int8
	token    uint8
	mask     uint8
	stage    uint8 // 0 not yet read by the server, 1 at work, 2 token written down
}

// world is a state.
type world struct {
	kafka   Position
	newest  int8 // owner that the group knows, -1 none
	rows    [modelMessages]uint8
	told    uint8 // messages in batches
	tokens  uint64
	owners  [modelOwners]modelOwner
	inserts [modelInserts]modelInsert
	all     int64 // messages there are
	// What may still happen.
	takeovers, crashes, losses, forgets, wipes uint8
}

// rules are the protocol, and ways to get it wrong.
type rules struct {
	plainRetry   bool // what the server says is believed
	freshToken   bool // each attempt has its own token
	countFirst   bool // after an error count; if there is none, a fresh token
	impatient    bool // an attempt that is at work is not waited for
	commitAhead  bool // the end of a block is committed before it is written
	forgetful    bool // a promise is not kept
	trusting     bool // suspect blocks are like others
	unconfirmed  bool // an owner does not ask again before it writes
	batchesFirst bool
	blind        bool // what may be there is not looked for before an attempt
}

// faults are how often each may happen, at any moment.
type faults struct{ takeovers, crashes, losses, forgets, wipes uint8 }

func tokenBit(from, to int8, token uint8) uint64 {
	return 1 << ((int(from)*modelMessages+int(to)-1)*modelTokens + int(token))
}

func span(from, to int64) (mask uint8) {
	for i := from; i < to; i++ {
		mask |= 1 << i
	}
	return mask
}

func (w *world) withRows(mask uint8) (have uint8) {
	for i, n := range w.rows {
		if n > 0 {
			have |= mask & (1 << i)
		}
	}
	return have
}

// explore goes through all states and returns how many there are and how many of
// them are ends; a violation ends it.
func explore(messages int64, r rules, f faults) (states, ends int, violation string) {
	seed := maphash.MakeSeed()
	// A position that is known: else all blocks would be suspect from the start.
	first := world{all: messages, kafka: Position{}, newest: -1, takeovers: f.takeovers + 1, crashes: f.crashes, losses: f.losses, forgets: f.forgets, wipes: f.wipes}
	seen := map[uint64]bool{maphash.Comparable(seed, first): true}
	stack := []world{first}
	for len(stack) > 0 {
		w := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		states++
		next, wrong := w.next(r)
		if wrong != "" {
			return states, ends, wrong
		}
		if w.over() {
			ends++
			if w.kafka.Offset != w.all {
				return states, ends, fmt.Sprintf("at the end Kafka is told of offset %d", w.kafka.Offset)
			}
			for i, n := range w.rows[:w.all] {
				if n != 1 || w.told != span(0, w.all) {
					return states, ends, fmt.Sprintf("at the end message %d has %d copies; told of %b", i, n, w.told)
				}
			}
		} else if len(next) == 0 {
			return states, ends, fmt.Sprintf("nothing can happen any more: %+v", w)
		}
		for _, n := range next {
			if h := maphash.Comparable(seed, n); !seen[h] {
				seen[h] = true
				stack = append(stack, n)
			}
		}
	}
	return states, ends, ""
}

// over: the newest owner has done all, and nobody else is about to do anything.
func (w *world) over() bool {
	for i, o := range w.owners {
		if o.alive && int8(i) != w.newest {
			return false
		}
	}
	for _, in := range w.inserts {
		if in.used {
			return false
		}
	}
	return w.newest >= 0 && w.owners[w.newest].phase == idle && w.owners[w.newest].m.From() == w.all && !w.owners[w.newest].m.Unsaid()
}

// next are the states that may follow, or what is wrong with one of them.
func (w *world) next(r rules) (list []world, wrong string) {
	add := func(n world) {
		for i, copies := range n.rows {
			if copies > 1 {
				wrong = fmt.Sprintf("message %d is stored twice", i)
			}
			if n.told&(1<<i) != 0 && copies == 0 {
				wrong = fmt.Sprintf("batches tells of message %d, which has no rows", i)
			}
		}
		list = append(list, n)
	}
	w.happen(r, add)
	for i := range w.owners {
		if w.owners[i].alive {
			if text := w.act(int8(i), r, add); text != "" {
				wrong = text
			}
		}
	}
	for i := range w.inserts {
		if w.inserts[i].used {
			w.serve(i, add)
		}
	}
	return list, wrong
}

// TestEveryCrash: all orders of two owners, a server that dies at any moment and
// leaves poisoned tokens, answers that are lost, owners that wake up after they
// were replaced, and positions that Kafka loses.
func TestEveryCrash(t *testing.T) {
	messages, deaths := int64(2), uint8(1)
	if os.Getenv("TAPWATCH_E2E") == "full" {
		messages, deaths = modelMessages, 2
	}
	for _, tt := range []struct {
		name string
		rules
		faults
	}{
		{"owners and servers die", rules{unconfirmed: true}, faults{takeovers: 2, crashes: deaths, losses: 1}},
		{"answers lost", rules{unconfirmed: true}, faults{takeovers: 1, crashes: 1, losses: 1 + deaths}},
		{"positions lost", rules{}, faults{takeovers: 2, crashes: 1, losses: deaths - 1, forgets: 1}},
		{"deduplication log lost", rules{}, faults{takeovers: 2, crashes: 1, losses: deaths - 1, wipes: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			states, ends, violation := explore(messages, tt.rules, tt.faults)
			t.Logf("%d states, %d of them ends, %s", states, ends, time.Since(began).Round(time.Millisecond))
			if violation != "" || ends == 0 {
				t.Errorf("%s (%d states, %d ends)", violation, states, ends)
			}
		})
	}
}

// TestEveryCrashSees: each step of the protocol is needed; without it the same
// search finds what goes wrong.
func TestEveryCrashSees(t *testing.T) {
	all := faults{takeovers: 1, crashes: 1, losses: 1}
	for _, tt := range []struct {
		name string
		rules
		faults
	}{
		{"a plain retry", rules{plainRetry: true}, all},
		{"a fresh token for each attempt", rules{freshToken: true}, all},
		{"count first, then a fresh token", rules{countFirst: true}, all},
		{"not waiting for attempts at work", rules{impatient: true}, all},
		{"commit of the end first", rules{commitAhead: true}, all},
		{"promises not kept", rules{forgetful: true}, all},
		{"suspicion ignored", rules{trusting: true}, faults{takeovers: 1, forgets: 1}},
		{"owners that do not ask again", rules{unconfirmed: true}, faults{takeovers: 1, forgets: 1}},
		{"batches before rows", rules{batchesFirst: true}, all},
		{"repeated blocks not looked for", rules{blind: true}, faults{takeovers: 1, wipes: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			states, _, violation := explore(2, tt.rules, tt.faults)
			if violation == "" {
				t.Errorf("nothing goes wrong in %d states", states)
			}
			t.Logf("%d states: %s", states, violation)
		})
	}
}

package consume

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Step is what the owner of a partition has to do next.
type Step uint8

// The steps of a block, in order. After Store the next block is gathered; its
// Promise closes the block before.
const (
	// Gather: read messages from Machine.From on; up to Machine.To where a
	// promise says so, else until the block is full.
	Gather Step = iota
	// Promise: commit Machine.Commit, so that whoever comes next forms the same block.
	Promise
	// Store: write the block and see that it is there.
	Store
)

func (s Step) String() string { return [...]string{"gather", "promise", "store"}[s] }

// Position is what Kafka keeps for a partition of the group. Offset is -1 when
// there is nothing.
type Position struct {
	Offset   int64
	Metadata string
}

// Log is what is known about a partition's messages beside its Position.
type Log struct {
	First int64 // offset of the oldest message there is
	Next  int64 // offset that the next message will get
	Known int64 // greatest offset that `batches` tells of, -1 none
}

// Hole is a range of messages [From, To) that the group had not yet dealt with
// and that are gone, or, with From > To, a log that is shorter than what the
// group has read of it. The zero value is no hole.
type Hole struct{ From, To int64 }

// Machine is the exactly-once protocol of one partition, without any input or
// output of its own: it says what is next, and is told what has been done. What
// it says depends on nothing but Resume's arguments and the calls since, so a
// crash at any point is a Resume with what Kafka holds then.
//
// A block [From, To) is decided before it is written: the commit of From with
// To as metadata, fenced by generation and member, comes first. After a crash
// or a rebalance the same block is formed from the same messages, and carries
// the same insert token.
type Machine struct {
	step     Step
	from, to int64 // to is -1 while the block may end anywhere
	repeated bool
	before   int64 // blocks that begin before this offset are suspect
	unsaid   bool  // from is further than what Kafka has been told
}

// Resume begins where the group stands. A promise that can still be kept is
// kept. One that cannot, because its messages are partly gone or because another
// version of this program made it and might have understood other messages,
// makes the blocks it touches suspect: nothing says which rows were written, so
// they are looked for first. The same holds where Kafka has no position although
// rows may have been written (offsets expire with an unused group, topics are
// made anew).
func Resume(p Position, l Log) (*Machine, Hole) {
	m := &Machine{from: p.Offset, to: -1}
	unknown := max(l.First, l.Known+1) + MaxMessages
	switch {
	case p.Offset < 0:
		m.from, m.before, m.unsaid = l.First, unknown, true
		return m, Hole{}
	case p.Offset > l.Next:
		m.from, m.before, m.unsaid = l.First, unknown, true
		return m, Hole{p.Offset, l.Next}
	}
	var hole Hole
	if p.Offset < l.First {
		hole = Hole{p.Offset, l.First}
		m.from, m.unsaid = l.First, true
	}
	said, ok := parsePromise(p.Metadata)
	if !ok {
		m.before = unknown // not our words: take nothing for granted
		return m, hole
	}
	m.before = said.before
	switch {
	case said.to <= m.from:
	case hole != Hole{} || said.to > l.Next:
		m.before = max(m.before, said.to)
	default:
		m.to, m.repeated = said.to, true
		if said.reader != flow.SchemaVersion {
			m.before = max(m.before, said.to)
		}
	}
	return m, hole
}

// Step is what is to be done next.
func (m *Machine) Step() Step { return m.step }

// From is the first offset of the block at hand.
func (m *Machine) From() int64 { return m.from }

// To is the offset after the last of the block at hand; -1 while it is open.
func (m *Machine) To() int64 { return m.to }

// Repeated reports whether the block at hand was promised before, so that
// writing it may have begun.
func (m *Machine) Repeated() bool { return m.repeated }

// Suspect reports whether rows of the block at hand may have been written as
// part of another block.
func (m *Machine) Suspect() bool { return m.from < m.before }

// Gathered ends the step Gather: the block ends before to. gap tells that
// offsets within it are missing, so that it may not be the block it was.
func (m *Machine) Gathered(to int64, gap bool) {
	m.must(Gather)
	if to <= m.from || m.to >= 0 && m.to != to {
		panic(fmt.Sprintf("block of [%d, %d) gathered up to %d", m.from, m.to, to))
	}
	if gap && m.repeated {
		m.before = max(m.before, to)
	}
	m.to, m.step = to, Promise
}

// Promised ends the step Promise.
func (m *Machine) Promised() {
	m.must(Promise)
	m.step, m.unsaid = Store, false
}

// Stored ends the step Store.
func (m *Machine) Stored() {
	m.must(Store)
	m.step, m.from, m.to = Gather, m.to, -1
	m.repeated, m.unsaid = false, true
}

// Unsaid reports whether Kafka has not been told of the last block's end. The
// next promise does it; an owner that has nothing to promise commits Commit and
// calls Said.
func (m *Machine) Unsaid() bool { return m.step == Gather && m.to < 0 && m.unsaid }

// Said notes that Commit has been committed with no block at hand.
func (m *Machine) Said() { m.unsaid = false }

// Commit is what has to stand in Kafka before the block at hand is written, or,
// while none is, what says that nothing is under way.
func (m *Machine) Commit() Position {
	said := promise{to: -1, before: m.before, reader: flow.SchemaVersion}
	if m.step != Gather {
		said.to = m.to
	}
	if said.before <= m.from {
		said.before = 0
	}
	return Position{m.from, said.String()}
}

func (m *Machine) must(s Step) {
	if m.step != s {
		panic("end of step " + s.String() + " in step " + m.step.String())
	}
}

// promise is the metadata of a commit.
type promise struct {
	to     int64 // end of the block, -1 none is promised
	before int64 // blocks that begin before are suspect, 0 none
	reader int   // flow.SchemaVersion of who made it
}

// String is empty where there is nothing to say.
func (p promise) String() string {
	if p.to < 0 && p.before == 0 {
		return ""
	}
	s := "reader=" + strconv.Itoa(p.reader)
	if p.to >= 0 {
		s += " to=" + strconv.FormatInt(p.to, 10)
	}
	if p.before > 0 {
		s += " suspect=" + strconv.FormatInt(p.before, 10)
	}
	return s
}

// parsePromise reads a commit's metadata, of which nobody guarantees that we
// wrote it; false says that we did not. Words of later versions are passed over.
func parsePromise(metadata string) (promise, bool) {
	p := promise{to: -1, reader: -1}
	if metadata == "" {
		return p, true
	}
	for word := range strings.FieldsSeq(metadata) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "to":
			p.to, err = offset(value)
		case "suspect":
			p.before, err = offset(value)
		case "reader":
			p.reader, err = strconv.Atoi(value)
		}
		if err != nil {
			return promise{to: -1, reader: -1}, false
		}
	}
	return p, p.reader >= 0
}

func offset(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

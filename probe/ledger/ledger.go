// Package ledger counts what happened to every packet of one capture worker,
// second by second of traffic time: seen = in flows + each named loss. Counts
// come in with the packets; LedgerSeconds for batch headers go out. A Ledger
// belongs to one goroutine and allocates only when a second begins or a reason
// is met for the first time in it.
package ledger

import (
	"math"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// Totals are the sums since the start.
type Totals struct {
	SeenPackets, SeenFrameBytes uint64
	FlowPackets, FlowFrameBytes uint64
	FlowsStarted, FlowsEnded    uint64
	Records                     uint64
	Losses                      map[string]Loss // by flow.Loss… name
}

// Loss is what one reason took.
type Loss struct{ Packets, FrameBytes, Records uint64 }

// Add adds the account of another worker.
func (t *Totals) Add(o Totals) {
	t.SeenPackets += o.SeenPackets
	t.SeenFrameBytes += o.SeenFrameBytes
	t.FlowPackets += o.FlowPackets
	t.FlowFrameBytes += o.FlowFrameBytes
	t.FlowsStarted += o.FlowsStarted
	t.FlowsEnded += o.FlowsEnded
	t.Records += o.Records
	for reason, n := range o.Losses {
		t.addLoss(reason, n)
	}
}

func (t *Totals) addLoss(reason string, n Loss) {
	if t.Losses == nil {
		t.Losses = make(map[string]Loss)
	}
	have := t.Losses[reason]
	have.Packets += n.Packets
	have.FrameBytes += n.FrameBytes
	have.Records += n.Records
	t.Losses[reason] = have
}

// Ledger is the account of one worker.
type Ledger struct {
	totals  Totals
	seconds []*flowpb.LedgerSecond
	current *flowpb.LedgerSecond
}

// New returns an empty ledger.
func New() *Ledger { return &Ledger{totals: Totals{Losses: make(map[string]Loss)}} }

// At makes second (Unix time) the one that the next counts belong to. Times
// before 1970 count in 1970: they cannot be stored.
func (l *Ledger) At(second int64) {
	second = min(max(second, 0), math.MaxUint32)
	if l.current != nil && l.current.Second == second {
		return
	}
	l.current = &flowpb.LedgerSecond{Second: second}
	l.seconds = append(l.seconds, l.current)
}

// now is the current second; counts before any packet belong to 1970.
func (l *Ledger) now() *flowpb.LedgerSecond {
	if l.current == nil {
		l.At(0)
	}
	return l.current
}

// Flow counts one packet that went into a flow.
func (l *Ledger) Flow(frameBytes uint32) {
	s := l.now()
	s.SeenPackets++
	s.SeenFrameBytes += uint64(frameBytes)
	s.FlowPackets++
	s.FlowFrameBytes += uint64(frameBytes)
}

// Lost counts packets that reached the capture point but no flow.
func (l *Ledger) Lost(reason string, packets, frameBytes uint64) {
	if packets == 0 && frameBytes == 0 {
		return
	}
	s := l.now()
	s.SeenPackets += packets
	s.SeenFrameBytes += frameBytes
	l.loss(s, reason, Loss{Packets: packets, FrameBytes: frameBytes})
}

// LostRecords counts records that were made but not handed over.
func (l *Ledger) LostRecords(reason string, records uint64) {
	if records > 0 {
		l.loss(l.now(), reason, Loss{Records: records})
	}
}

// Flows counts connections begun and ended, and records made.
func (l *Ledger) Flows(started, ended, records uint64) {
	if started|ended|records == 0 {
		return
	}
	s := l.now()
	s.FlowsStarted += started
	s.FlowsEnded += ended
	s.Records += records
}

func (l *Ledger) loss(s *flowpb.LedgerSecond, reason string, n Loss) {
	for _, have := range s.Losses {
		if have.Reason == reason {
			have.Packets += n.Packets
			have.FrameBytes += n.FrameBytes
			have.Records += n.Records
			return
		}
	}
	s.Losses = append(s.Losses, &flowpb.Loss{Reason: reason, Packets: n.Packets, FrameBytes: n.FrameBytes, Records: n.Records})
}

// Len is the number of seconds not taken yet.
func (l *Ledger) Len() int { return len(l.seconds) }

// Take returns the seconds counted since the last Take; they are the caller's.
func (l *Ledger) Take() []*flowpb.LedgerSecond {
	taken := l.seconds
	for _, s := range taken {
		l.add(s)
	}
	l.seconds, l.current = nil, nil
	if len(taken) > 0 {
		// Counts to come without a packet of their own belong here.
		l.current = &flowpb.LedgerSecond{Second: taken[len(taken)-1].Second}
		l.seconds = []*flowpb.LedgerSecond{l.current}
		// An entry without counts is not worth sending.
		if last := taken[len(taken)-1]; empty(last) {
			taken = taken[:len(taken)-1]
		}
	}
	return taken
}

func empty(s *flowpb.LedgerSecond) bool {
	return s.SeenPackets|s.SeenFrameBytes|s.FlowsStarted|s.FlowsEnded|s.Records == 0 && len(s.Losses) == 0
}

func (l *Ledger) add(s *flowpb.LedgerSecond) {
	t := &l.totals
	t.SeenPackets += s.SeenPackets
	t.SeenFrameBytes += s.SeenFrameBytes
	t.FlowPackets += s.FlowPackets
	t.FlowFrameBytes += s.FlowFrameBytes
	t.FlowsStarted += s.FlowsStarted
	t.FlowsEnded += s.FlowsEnded
	t.Records += s.Records
	for _, n := range s.Losses {
		t.addLoss(n.Reason, Loss{Packets: n.Packets, FrameBytes: n.FrameBytes, Records: n.Records})
	}
}

// Totals are the sums of all seconds taken so far. The map is the ledger's.
func (l *Ledger) Totals() Totals { return l.totals }

package ledger

import (
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

func TestSeenIsFlowsAndLosses(t *testing.T) {
	l := New()
	l.At(10)
	l.Flow(100)
	l.Lost(flow.LossNonIP, 1, 60)
	l.Lost(flow.LossNonIP, 1, 60)
	l.At(11)
	l.Lost(flow.LossRing, 5, 0)
	l.Flows(1, 1, 1)
	first := l.Take()
	if len(first) != 2 || first[0].Second != 10 || len(first[0].Losses) != 1 || first[0].Losses[0].Packets != 2 {
		t.Fatalf("%v", first)
	}
	l.LostRecords(flow.LossQueueFull, 3) // no packet since: belongs to second 11
	second := l.Take()
	if len(second) != 1 || second[0].Second != 11 || second[0].Losses[0].Records != 3 {
		t.Fatalf("%v", second)
	}
	if got := l.Take(); len(got) != 0 {
		t.Fatalf("an idle second was told: %v", got)
	}
	n := l.Totals()
	var packets, bytes uint64
	for _, loss := range n.Losses {
		packets += loss.Packets
		bytes += loss.FrameBytes
	}
	if n.SeenPackets != 8 || n.SeenPackets != n.FlowPackets+packets || n.SeenFrameBytes != n.FlowFrameBytes+bytes || n.Records != 1 {
		t.Errorf("%+v", n)
	}
}

func TestOneSecondAllocatesNothing(t *testing.T) {
	l := New()
	l.At(1)
	l.Lost(flow.LossNonIP, 1, 60)
	if n := testing.AllocsPerRun(100, func() { l.At(1); l.Flow(60); l.Lost(flow.LossNonIP, 1, 60) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

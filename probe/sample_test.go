package probe

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/flow"
)

func sampled(t *testing.T, flows, packets uint32, workers int) ([]string, ledger.Totals) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Capture.Files, cfg.Capture.Workers = []string{demo}, workers
	cfg.Capture.SampleFlows, cfg.Capture.SamplePackets = flows, packets
	text, totals := flowsWith(t, cfg, FormatJSON)
	checkTotals(t, totals)
	return sortedRecords(text), totals
}

// One flow in four: its records are those without sampling, all packets of the
// others are accounted for, and two runs keep the same.
func TestFlowSampling(t *testing.T) {
	all, whole := sampled(t, 0, 0, 1)
	some, part := sampled(t, 4, 0, 1)
	is := make(map[string]bool)
	for _, r := range all {
		is[r] = true
	}
	for _, r := range some {
		if !is[r] {
			t.Fatalf("not a record of the whole: %s", r)
		}
	}
	share := float64(part.FlowsStarted) / float64(whole.FlowsStarted)
	if share < 0.2 || share > 0.3 || part.SeenPackets != whole.SeenPackets || part.Losses[flow.LossSampled].Packets == 0 {
		t.Errorf("%.3f of the flows are kept; %+v, without sampling %+v", share, part, whole)
	}
	if again, _ := sampled(t, 4, 0, 3); strings.Join(again, "\n") != strings.Join(some, "\n") {
		t.Errorf("three workers keep %d records, one %d", len(again), len(some))
	}
}

// One packet in ten: the ledger knows the others, and the scaled counters are
// about those of the whole.
func TestPacketSampling(t *testing.T) {
	const n = 10
	all, whole := sampled(t, 0, 0, 1)
	some, part := sampled(t, 0, n, 1)
	if got, want := part.SeenPackets-part.Losses[flow.LossSampled].Packets, (whole.SeenPackets+n-1)/n; got != want || part.SeenPackets != whole.SeenPackets {
		t.Errorf("%d packets taken, want %d; %+v", got, want, part)
	}
	sum := func(lines []string, sampling uint32) (packets, octets uint64) {
		for _, l := range lines {
			var r struct {
				SrcPackets    uint64 `json:"src_packets"`
				DstPackets    uint64 `json:"dst_packets"`
				SrcFrameBytes uint64 `json:"src_frame_bytes"`
				DstFrameBytes uint64 `json:"dst_frame_bytes"`
				Sampling      uint32 `json:"sampling"`
			}
			if err := json.Unmarshal([]byte(l), &r); err != nil {
				t.Fatal(err)
			}
			if r.Sampling != sampling {
				t.Fatalf("sampling %d, want %d: %s", r.Sampling, sampling, l)
			}
			packets += r.SrcPackets + r.DstPackets
			octets += r.SrcFrameBytes + r.DstFrameBytes
		}
		return packets, octets
	}
	p, o := sum(all, 0)
	sp, so := sum(some, n)
	if sp != n*part.FlowPackets || math.Abs(float64(sp)/float64(p)-1) > 0.02 || math.Abs(float64(so)/float64(o)-1) > 0.1 {
		t.Errorf("scaled up %d packets, %d octets; there were %d, %d; %+v", sp, so, p, o, part)
	}
	if again, _ := sampled(t, 0, n, 3); strings.Join(again, "\n") != strings.Join(some, "\n") {
		t.Errorf("three workers make %d records, one %d", len(again), len(some))
	}
}

// The hash that keeps flows is even and symmetric: over a capture of many
// flows about one in N is kept for every N.
func TestFlowSamplingIsEven(t *testing.T) {
	path := corpus.Path(t, "bench/mix.pcap")
	cfg := DefaultConfig()
	cfg.Capture.Files = []string{path}
	_, whole := flowsWith(t, cfg, FormatNone)
	for _, n := range []uint32{2, 3, 16} {
		cfg.Capture.SampleFlows = n
		_, part := flowsWith(t, cfg, FormatNone)
		want := float64(whole.FlowsStarted) / float64(n)
		if off := math.Abs(float64(part.FlowsStarted) - want); off > 5*math.Sqrt(want) {
			t.Errorf("one in %d: %d flows of %d", n, part.FlowsStarted, whole.FlowsStarted)
		}
	}
}

package meter

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestConservation: every packet and frame octet of every capture is in a flow
// record or in a named loss, with and without inspection and with a table that
// is far too small.
func TestConservation(t *testing.T) {
	in := dpi.NewInspector(dpi.DefaultConfig())
	for _, c := range corpus.Captures(t) {
		for name, cfg := range map[string]Config{"default": DefaultConfig(), "small": {MaxFlows: 5, ActiveTimeout: time.Second}} {
			n := run(t, c.Path, cfg, in, func(r *flow.Record) {
				if r.End < r.Start {
					t.Errorf("%s: flow %d ends before it starts", c.Name, r.FlowID)
				}
			})
			lost := uint64(0)
			for _, v := range n.lost {
				lost += v
			}
			if n.packets != n.flowPackets+lost || n.frameBytes != n.flowFrameBytes+n.lostBytes {
				t.Errorf("%s %s: %d packets %d octets, in flows %d %d, lost %d %d", c.Name, name,
					n.packets, n.frameBytes, n.flowPackets, n.flowFrameBytes, lost, n.lostBytes)
			}
			if n.packets != c.Packets || n.frameBytes != c.Bytes {
				t.Errorf("%s: read %d packets %d octets, captures.tsv has %d %d", c.Name, n.packets, n.frameBytes, c.Packets, c.Bytes)
			}
		}
	}
}

// TestCorpora: the same for the wider corpora, malformed captures among them;
// what matters is that nothing panics and nothing is lost on the way.
func TestCorpora(t *testing.T) {
	if testing.Short() {
		t.Skip("900 captures")
	}
	captures := 0
	in := dpi.NewInspector(dpi.DefaultConfig())
	path := filepath.Join(t.TempDir(), "capture")
	corpus.EachCapture(t, func(name string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := capture.OpenFile(path, capture.FileOptions{})
		if err != nil {
			return // not a capture any more: capture's tests look at those
		}
		src.Close()
		captures++
		n := run(t, path, Config{MaxFlows: 1000}, in, func(*flow.Record) {})
		lost := uint64(0)
		for _, v := range n.lost {
			lost += v
		}
		if n.packets != n.flowPackets+lost || n.frameBytes != n.flowFrameBytes+n.lostBytes {
			t.Errorf("%s: %d packets %d octets, in flows %d %d, lost %d %d", name, n.packets, n.frameBytes, n.flowPackets, n.flowFrameBytes, lost, n.lostBytes)
		}
	})
	if captures < 700 {
		t.Errorf("only %d captures", captures)
	}
	t.Logf("%d captures", captures)
}

// oracleFlow is a TCP or UDP stream as tshark sees it.
type oracleFlow struct {
	Proto, Src, Dst string
	Sport, Dport    int
	Fwd             uint64  `json:"pkts_fwd"`
	Rev             uint64  `json:"pkts_rev"`
	BytesFwd        uint64  `json:"bytes_fwd"`
	BytesRev        uint64  `json:"bytes_rev"`
	RTT             float64 `json:"initial_rtt"`
	FlagsFwd        uint16  `json:"flags_fwd"`
	FlagsRev        uint16  `json:"flags_rev"`
}

type volume struct{ packets, bytes uint64 }

// TestOracle compares packets and frame octets of each direction of each
// conversation with tshark's.
func TestOracle(t *testing.T) {
	root := corpus.Dir(t)
	same, total, rttSame, rttTotal, flags, flagTotal := 0, 0, 0, 0, 0, 0
	for _, c := range corpus.Captures(t) {
		text, err := os.ReadFile(filepath.Join(root, c.Oracle))
		if c.Oracle == "" || err != nil {
			continue
		}
		var o struct {
			Flows  []oracleFlow
			Listed int `json:"flows_listed"`
			TCP    int `json:"tcp_flows"`
			UDP    int `json:"udp_flows"`
		}
		if err := json.Unmarshal(text, &o); err != nil {
			t.Fatalf("%s: %v", c.Oracle, err)
		}
		if o.Listed < o.TCP+o.UDP {
			continue // only part of the flows is listed
		}
		want, got := map[string]volume{}, map[string]volume{}
		rtts := map[string]float64{}
		wantFlags, gotFlags := map[string]uint8{}, map[string]uint8{}
		add := func(m map[string]volume, k string, packets, bytes uint64) {
			v := m[k]
			m[k] = volume{v.packets + packets, v.bytes + bytes}
		}
		direction := func(proto, a string, ap int, b string, bp int) string {
			return fmt.Sprintf("%s %s %d %s %d", proto, a, ap, b, bp)
		}
		ours := map[string]float64{}
		run(t, c.Path, DefaultConfig(), nil, func(r *flow.Record) {
			proto := map[uint8]string{flow.ProtoTCP: "tcp", flow.ProtoUDP: "udp"}[r.Protocol]
			if proto == "" {
				return
			}
			f := direction(proto, r.SrcIP.String(), int(r.SrcPort), r.DstIP.String(), int(r.DstPort))
			b := direction(proto, r.DstIP.String(), int(r.DstPort), r.SrcIP.String(), int(r.SrcPort))
			add(got, f, r.SrcPackets, r.SrcFrameBytes)
			add(got, b, r.DstPackets, r.DstFrameBytes)
			gotFlags[f] |= r.SrcTCPFlags
			gotFlags[b] |= r.DstTCPFlags
			if r.DstRTT > 0 && r.SrcRTT > 0 && ours[f] == 0 {
				ours[f] = float64(r.DstRTT+r.SrcRTT) / 1e6
			}
		})
		for _, w := range o.Flows {
			f, b := direction(w.Proto, w.Src, w.Sport, w.Dst, w.Dport), direction(w.Proto, w.Dst, w.Dport, w.Src, w.Sport)
			add(want, f, w.Fwd, w.BytesFwd)
			add(want, b, w.Rev, w.BytesRev)
			wantFlags[f] |= uint8(w.FlagsFwd)
			wantFlags[b] |= uint8(w.FlagsRev)
			if w.RTT > 0 && rtts[f] == 0 {
				rtts[f] = w.RTT
			}
		}
		bad := 0
		for k, w := range want {
			if w.packets == 0 {
				continue
			}
			total++
			if got[k] == w {
				same++
			} else if bad++; bad <= 2 {
				t.Logf("%s: %s -ours %v +tshark %v", c.Name, k, got[k], w)
			}
			if strings.HasPrefix(k, "tcp") {
				flagTotal++
				if gotFlags[k] == wantFlags[k] {
					flags++
				}
			}
		}
		for k, w := range rtts {
			rttTotal++
			if d := ours[k] - w; d < 3e-6 && d > -3e-6 {
				rttSame++
			} else if testing.Verbose() {
				t.Logf("%s: %s rtt -ours %.6f +tshark %.6f", c.Name, k, ours[k], w)
			}
		}
	}
	t.Logf("directions with tshark's packets and frame octets: %d of %d; flags %d of %d; initial round trip %d of %d", same, total, flags, flagTotal, rttSame, rttTotal)
	if total == 0 || float64(same) < 0.99*float64(total) {
		t.Errorf("only %d of %d directions equal", same, total)
	}
}

// TestCommunityID checks the key of every flow of the specification's captures.
func TestCommunityID(t *testing.T) {
	root := corpus.Dir(t)
	files, _ := filepath.Glob(filepath.Join(root, "community-id/*.pcap"))
	text, err := os.ReadFile(filepath.Join(root, "community-id/expected/baseline_deflt.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("captures of the Community ID specification: %v", err)
	}
	var want []struct{ CommunityID string }
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, w := range want {
		missing[w.CommunityID] = true
	}
	known := len(missing)
	seen := map[string]bool{}
	for _, f := range files {
		run(t, f, DefaultConfig(), nil, func(r *flow.Record) {
			if r.EtherType != 0 {
				return // the specification knows IP only
			}
			id := flow.CommunityID(r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol)
			if !seen[id] && !missing[id] {
				t.Errorf("%s: %v:%d %v:%d protocol %d has %s, which the baseline has not", filepath.Base(f), r.SrcIP, r.SrcPort, r.DstIP, r.DstPort, r.Protocol, id)
			}
			seen[id] = true
			delete(missing, id)
		})
	}
	if len(missing) > 0 || known == 0 {
		t.Errorf("%d of %d identifiers were not found: %v", len(missing), known, missing)
	}
}

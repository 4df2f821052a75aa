package keep

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestCaptures keeps captures and asks for all of each, and for its flows.
func TestCaptures(t *testing.T) {
	for _, c := range corpus.Captures(t) {
		if c.Tier != "core" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			frames := readFrames(t, c.Path, 2500)
			cfg := testConfig(t)
			fill(t, cfg, frames)
			r := openRing(t, cfg)
			same(t, "all", found(t, r, Query{}), inOrder(frames))
			flows(t, r, frames)
		})
	}
}

// flows asks for some flows of a capture in every way there is.
func flows(t *testing.T, r *Ring, frames []frame) {
	type group struct {
		key    flowKey
		frames []frame
		plain  bool // a BPF expression can find it: no tunnel, tag or fragment
	}
	groups := make(map[string]*group)
	hosts := make(map[flow.Addr][]frame)
	for _, f := range frames {
		p := &f.packet
		if !f.decoded {
			continue
		}
		// The Community ID tells ICMP requests and replies together, as we do.
		id := flow.CommunityID(p.Src, p.Dst, p.SrcPort, p.DstPort, p.Protocol)
		g := groups[id]
		if g == nil {
			g = &group{key: keyOf(p), plain: true}
			groups[id] = g
		}
		g.frames = append(g.frames, f)
		g.plain = g.plain && p.VLAN == 0 && p.Tunnel == flow.TunnelNone && !p.Fragment && !p.Bare
		ends := []flow.Addr{p.Src, p.Dst}
		if p.OuterSrc != (flow.Addr{}) {
			ends = append(ends, p.OuterSrc, p.OuterDst)
		}
		slices.SortFunc(ends, func(a, b flow.Addr) int { return bytes.Compare(a[:], b[:]) })
		for _, a := range slices.Compact(ends) {
			hosts[a] = append(hosts[a], f)
		}
	}
	ids := make([]string, 0, len(groups))
	for id := range groups {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { // the largest, and some others
		return cmp.Or(cmp.Compare(len(groups[b].frames), len(groups[a].frames)), cmp.Compare(a, b))
	})
	for i, id := range ids {
		if i >= 4 && i < len(ids)-4 {
			continue
		}
		g := groups[id]
		want := inOrder(g.frames)
		same(t, "flow "+id, found(t, r, Query{CommunityID: id}), want)
		switch g.key.protocol {
		case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP:
			if g.key.srcPort == 0 || g.key.dstPort == 0 {
				continue // 0 is any
			}
		default:
			continue
		}
		q := endsOf(g.key)
		same(t, "ends of "+id, found(t, r, q), want)
		q.Src, q.Dst, q.SrcPort, q.DstPort = q.Dst, q.Src, q.DstPort, q.SrcPort
		same(t, "turned ends of "+id, found(t, r, q), want)
		if g.plain && frames[0].LinkType != capture.LinkNull { // its families differ between systems
			byFilter(t, r, frames, bpf(g.key), want)
		}
	}
	n := 0
	for a, list := range hosts {
		if n++; n > 3 {
			break
		}
		same(t, "host "+a.String(), found(t, r, Query{Host: a.Netip()}), inOrder(list))
	}
}

// bpf is the expression for a flow.
func bpf(k flowKey) string {
	proto := map[uint8]string{flow.ProtoTCP: "tcp", flow.ProtoUDP: "udp", flow.ProtoSCTP: "sctp"}[k.protocol]
	return fmt.Sprintf("%s and ((src host %s and src port %d and dst host %s and dst port %d) or (src host %s and src port %d and dst host %s and dst port %d))",
		proto, k.src, k.srcPort, k.dst, k.dstPort, k.dst, k.dstPort, k.src, k.srcPort)
}

// byFilter compares with what libpcap's program lets through, in the capture itself.
func byFilter(t *testing.T, r *Ring, frames []frame, expr string, flow []frame) {
	t.Helper()
	var want []frame
	if len(frames) > 0 {
		f, err := capture.CompileFilter(expr, frames[0].LinkType, 0)
		if err != nil {
			t.Skip(err)
		}
		for i := range frames {
			if f.Match(frames[i].Data, frames[i].Len) {
				want = append(want, frames[i])
			}
		}
	}
	for _, f := range frames {
		if f.LinkType != frames[0].LinkType {
			return
		}
	}
	want = inOrder(want)
	same(t, "filter "+expr, found(t, r, Query{Filter: expr}), want)
	if len(want) < len(flow) {
		t.Errorf("filter %s: %d packets, of the flow there are %d", expr, len(want), len(flow))
	}
}

// TestTcpdump compares flows of a mix with the packets that tcpdump finds.
func TestTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is not installed")
	}
	for _, name := range []string{"zeek/wikipedia.trace", "joy/kali-normal-ssh.pcap", "ndpi/teams.pcap", "zeek/http_get.trace", "bench/mix.pcap"} {
		path := filepath.Join(corpus.Dir(t), name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		frames := readFrames(t, path, 8000)
		cfg := testConfig(t)
		fill(t, cfg, frames)
		r := openRing(t, cfg)
		asked := make(map[flowKey]bool)
		for _, f := range frames {
			k := keyOf(&f.packet)
			if !f.decoded || f.packet.Tunnel != 0 || f.packet.VLAN != 0 || f.packet.Fragment || k.protocol != flow.ProtoTCP || k.srcPort == 0 || asked[k] || len(asked) >= 4 {
				continue
			}
			asked[k] = true
			out := filepath.Join(t.TempDir(), "tcpdump.pcap")
			// The ring has the first frames of a long capture only.
			in := filepath.Join(t.TempDir(), "in.pcap")
			if msg, err := exec.Command(tcpdump, "-r", path, "-c", fmt.Sprint(len(frames)), "-w", in).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, msg)
			}
			if msg, err := exec.Command(tcpdump, "-r", in, "-w", out, bpf(k)).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, msg)
			}
			same(t, name+": "+bpf(k), found(t, r, endsOf(k)), inOrder(readFrames(t, out, 0)))
		}
		t.Logf("%s: %d flows", name, len(asked))
	}
}

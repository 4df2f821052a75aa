package biflow

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// half is one direction, "10.0.0.1" to "10.0.0.2", times in seconds.
func half(src, dst string, sport, dport uint16, protocol, flags uint8, start, end float64, packets, bytes uint64) Half {
	h := Half{Start: int64(start * 1e9), End: int64(end * 1e9), Packets: packets, Bytes: bytes, Flags: flags}
	h.Origin = "netflow9"
	h.Src, h.Dst = flow.AddrFrom(netip.MustParseAddr(src)), flow.AddrFrom(netip.MustParseAddr(dst))
	h.SrcPort, h.DstPort, h.Protocol = sport, dport, protocol
	return h
}

func pair(t *testing.T, halves ...Half) []flow.Record {
	t.Helper()
	var all []flow.Record
	table := NewTable(func(r *flow.Record) error { all = append(all, r.Clone()); return nil })
	for _, h := range halves {
		if err := table.Add(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	return all
}

const client, server = "10.0.0.9", "192.0.2.1"

func TestPairs(t *testing.T) {
	ask := half(client, server, 40000, 443, 6, fin|syn|psh|ack, 100, 101, 10, 1500)
	reply := half(server, client, 443, 40000, 6, fin|syn|psh|ack, 100.02, 101, 12, 9000)
	for name, halves := range map[string][]Half{"in order": {ask, reply}, "the answer first": {reply, ask}} {
		got := pair(t, halves...)
		if len(got) != 1 {
			t.Fatalf("%s: %d records", name, len(got))
		}
		r := &got[0]
		if r.SrcIP != ask.Src || r.SrcPackets != 10 || r.DstPackets != 12 || r.SrcBytes != 1500 || r.DstBytes != 9000 || r.Start != ask.Start || r.End != ask.End {
			t.Errorf("%s: %+v", name, r)
		}
		if r.ConnState != flow.ConnSF || r.InitiatorGuessed || r.SrcPayloadBytes == 0 || r.DstPayloadBytes == 0 || r.Segment != 0 {
			t.Errorf("%s: %s, guessed %v, payload %d and %d", name, r.ConnState, r.InitiatorGuessed, r.SrcPayloadBytes, r.DstPayloadBytes)
		}
	}
}

func TestHalvesAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		half    Half
		state   flow.ConnState
		guessed bool
		turned  bool
	}{
		"a SYN that nobody answered":         {half(client, server, 40000, 22, 6, syn, 1, 1, 1, 60), flow.ConnS0, false, false},
		"a SYN from a low port":              {half(client, server, 53, 4444, 6, syn, 1, 1, 1, 40), flow.ConnS0, false, false},
		"a question without an answer":       {half(client, server, 40000, 53, 17, 0, 1, 1, 1, 70), flow.ConnS0, false, false},
		"an answer without a question":       {half(server, client, 53, 40000, 17, 0, 1, 1, 1, 200), flow.ConnSHR, true, true},
		"a TCP direction that was answered":  {half(client, server, 40000, 443, 6, syn|ack|psh|fin, 1, 2, 9, 2000), flow.ConnOTH, true, false},
		"the server's direction":             {half(server, client, 443, 40000, 6, syn|ack|psh|fin, 1, 2, 9, 9000), flow.ConnOTH, true, true},
		"an echo reply without its question": {func() Half { h := half(server, client, 0, 0, 1, 0, 1, 1, 1, 84); return h }(), flow.ConnSHR, true, true},
	} {
		got := pair(t, tt.half)
		if len(got) != 1 {
			t.Fatalf("%s: %d records", name, len(got))
		}
		r := &got[0]
		if r.ConnState != tt.state || r.InitiatorGuessed != tt.guessed || (r.SrcIP != tt.half.Src) != tt.turned || r.Packets() != tt.half.Packets {
			t.Errorf("%s: %s, guessed %v, from %s, %d packets", name, r.ConnState, r.InitiatorGuessed, r.SrcIP, r.Packets())
		}
	}
}

// A long flow that is told at each active timeout is one connection of several segments.
func TestSegments(t *testing.T) {
	var halves []Half
	for i := range 5 {
		from := 1000 + 60*float64(i)
		halves = append(halves, half(client, server, 40000, 443, 6, ack|psh, from, from+59, 100, 90_000), half(server, client, 443, 40000, 6, ack|psh, from+0.01, from+59, 90, 10_000))
	}
	halves = append(halves, half(client, server, 40000, 443, 6, syn|ack|psh, 1500, 1501, 3, 300)) // the port again, much later
	got := pair(t, halves...)
	if len(got) != 6 {
		t.Fatalf("%d records", len(got))
	}
	var bytes uint64
	for i := range 5 {
		r := &got[i]
		bytes += r.SrcBytes
		if r.FlowID != 1 || r.Segment != uint32(i) || r.SrcIP != halves[0].Src {
			t.Errorf("record %d: flow %d, segment %d from %s", i, r.FlowID, r.Segment, r.SrcIP)
		}
	}
	if bytes != 450_000 || got[5].FlowID != 2 || got[5].Segment != 0 {
		t.Errorf("%d bytes; then flow %d, segment %d", bytes, got[5].FlowID, got[5].Segment)
	}
}

// What an exporter tells where packets come in, and again where they leave, counts once.
func TestEgressIsNotCountedTwice(t *testing.T) {
	in := half(client, server, 40000, 53, 17, 0, 5, 6, 4, 400)
	in.Direction = Ingress
	out := in
	out.Direction, out.Interface = Egress, "192.0.2.254/2"
	if got := pair(t, in, out); len(got) != 1 || got[0].SrcPackets != 4 {
		t.Errorf("%d records: %+v", len(got), got)
	}
	if got := pair(t, out); len(got) != 1 {
		t.Errorf("egress alone: %d records", len(got))
	}
}

// Halves do not wait for ever, nor pair with what was long ago.
func TestWindow(t *testing.T) {
	var n int
	table := NewTable(func(*flow.Record) error { n++; return nil })
	if err := table.Add(half(client, server, 1, 53, 17, 0, 10, 10, 1, 70)); err != nil {
		t.Fatal(err)
	}
	if err := table.Add(half(client, server, 2, 53, 17, 0, 10+Window.Seconds()+1, 10+Window.Seconds()+1, 1, 70)); err != nil {
		t.Fatal(err)
	}
	if n != 1 || table.Waiting() != 1 {
		t.Errorf("%d out, %d wait", n, table.Waiting())
	}
	early, late := half(client, server, 7, 53, 17, 0, 10, 10, 1, 70), half(server, client, 53, 7, 17, 0, 10+2*Gap.Seconds(), 10+2*Gap.Seconds(), 1, 70)
	if got := pair(t, early, late); len(got) != 2 {
		t.Errorf("a question and an answer %s later are %d flows", 2*time.Minute, len(got))
	}
}

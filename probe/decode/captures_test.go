package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// frames reads a whole capture into memory.
func frames(t testing.TB, path string) (all []capture.Frame) {
	t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Logf("%s: %v", path, err)
		return nil
	}
	defer src.Close()
	var arena []byte // as in a file, one frame behind the other
	for {
		var f capture.Frame
		switch err := src.Next(&f); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Logf("%s: %v", path, err)
			return all
		}
		if cap(arena)-len(arena) < len(f.Data) {
			arena = make([]byte, 0, max(len(f.Data), 4<<20))
		}
		arena = append(arena, f.Data...)
		f.Data = arena[len(arena)-len(f.Data) : len(arena) : len(arena)]
		all = append(all, f)
	}
}

// everyCapture calls f with the path of each capture, those in the corpora
// included, or skips the test.
func everyCapture(t *testing.T, f func(path string)) {
	t.Helper()
	dir := t.TempDir()
	corpus.EachCapture(t, func(name string, data []byte) {
		path := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f(path)
		os.Remove(path)
	})
	if err := filepath.WalkDir(corpus.Dir(t), func(path string, e fs.DirEntry, err error) error {
		if err == nil && corpus.IsCapture(path) && !e.IsDir() {
			f(path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestEveryCapture decodes all recorded captures both ways: the fast path must
// be no other than the general one, and what is promised of a Packet must hold.
func TestEveryCapture(t *testing.T) {
	var verdicts [Verdicts]int
	fasts, packets := 0, 0
	everyCapture(t, func(path string) {
		one, other := New(DefaultConfig()), New(DefaultConfig())
		other.general = true
		var p, q Packet
		for i, f := range frames(t, path) {
			v, w := one.Decode(&f, &p), other.Decode(&f, &q)
			packets++
			verdicts[v]++
			if v != w || v == OK && !reflect.DeepEqual(p, q) {
				t.Errorf("%s, frame %d: fast %v %+v, general %v %+v", path, i+1, v, p, w, q)
			}
			if v == OK {
				check(t, one, &f, &p)
			}
			if f.LinkType == capture.LinkEthernet && fast(&f, &q) {
				fasts++
			}
		}
	})
	t.Logf("%d packets, %d by the fast path, verdicts %v", packets, fasts, verdicts)
	if fasts < packets/2 {
		t.Errorf("only %d of %d packets took the fast path", fasts, packets)
	}
}

// check holds p against what Packet promises.
func check(t testing.TB, d *Decoder, f *capture.Frame, p *Packet) {
	t.Helper()
	wire := max(uint64(f.Len), uint64(len(f.Data)))
	if d.Stats().Reassembled == 0 && uint64(p.IPLen) > wire || p.PayloadLen > p.IPLen || len(p.Payload) > int(p.PayloadLen) || p.Bare && p.Payload != nil {
		t.Fatalf("lengths contradict: %+v", p)
	}
	if p.FragmentPending && (!p.Fragment || p.Reassembled != nil) || p.Reassembled != nil && !p.Fragment {
		t.Fatalf("fragment flags contradict: %+v", p)
	}
	if !p.rare && (p.Reassembled != nil || p.Quoted != Quoted{} || p.OuterSrc != flow.Addr{}) {
		t.Fatalf("rare fields without their mark: %+v", p)
	}
	if p.EtherType != 0 && (p.EtherType != iana.EtherARP || p.Protocol != 0 || p.Payload != nil) {
		t.Fatalf("ARP and more: %+v", p)
	}
}

// Captures of which tshark 4.0 names other flows, and why ours are right.
var oracleDiffers = map[string]string{
	"stopddos/amp.dns.RRSIG.fragmented.pcap":                  "first fragments whose rest was not captured are of a flow, too",
	"zeek/tunnels/gtp/gtp1_gn_normal_incl_fragmentation.pcap": "the pieces before the last are of the tunnel's flow",
	"ndpi/fuzz-2006-06-26-2594.pcap":                          "damaged packets: lengths beyond the packet are read as far as it goes",
	"zeek/tunnels/vxlan.pcap":                                 "only ICMP and ARP inside: the tunnel's own flows are listed",
	"zeek/tunnels/geneve.pcap":                                "only ICMP inside: the tunnel's own flows are listed",
	"zeek/tunnels/Teredo.pcap":                                "clients that speak to each other on other ports than 3544 are not seen as Teredo",
}

// TestInnermostAddresses holds the TCP and UDP flows against those that tshark
// found: in tunnels the innermost, as ours.
func TestInnermostAddresses(t *testing.T) {
	type ends struct {
		proto      string
		a, b       string
		port, peer uint16
	}
	ordered := func(e ends) ends {
		if e.a > e.b || e.a == e.b && e.port > e.peer {
			e.a, e.b, e.port, e.peer = e.b, e.a, e.peer, e.port
		}
		return e
	}
	compared, dir := 0, corpus.Dir(t)
	oracles := filepath.Join(dir, "oracle")
	err := filepath.WalkDir(oracles, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var oracle struct {
			Flows int `json:"flows_listed"`
			TCP   int `json:"tcp_flows"`
			UDP   int `json:"udp_flows"`
			List  []struct {
				Proto    string
				Src, Dst string
				Sport    uint16
				Dport    uint16
			} `json:"flows"`
		}
		if err := json.NewDecoder(bytes.NewReader(b)).Decode(&oracle); err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path, oracles+"/"), ".json")
		if oracle.Flows != oracle.TCP+oracle.UDP || oracleDiffers[name] != "" {
			return nil
		}
		theirs, ours := map[ends]bool{}, map[ends]bool{}
		for _, f := range oracle.List {
			theirs[ordered(ends{f.Proto, f.Src, f.Dst, f.Sport, f.Dport})] = true
		}
		d := New(DefaultConfig())
		var p Packet
		for _, f := range frames(t, filepath.Join(dir, name)) {
			if d.Decode(&f, &p) != OK || p.Fragment && p.SrcPort == 0 {
				continue
			}
			switch p.Protocol {
			case flow.ProtoTCP:
				ours[ordered(ends{"tcp", p.Src.String(), p.Dst.String(), p.SrcPort, p.DstPort})] = true
			case flow.ProtoUDP:
				ours[ordered(ends{"udp", p.Src.String(), p.Dst.String(), p.SrcPort, p.DstPort})] = true
			}
		}
		compared++
		for e := range theirs {
			if !ours[e] {
				t.Errorf("%s: only tshark has %+v", name, e)
			}
		}
		for e := range ours {
			if !theirs[e] {
				t.Errorf("%s: only we have %+v", name, e)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if compared < 100 {
		t.Errorf("%d captures compared", compared)
	}
}

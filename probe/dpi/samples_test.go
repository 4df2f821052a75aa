package dpi

import (
	"bufio"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

var update = flag.Bool("update", false, "write what is found into testdata/samples")

// sample is the beginning of a conversation, from testdata/samples: a line with
// transport, source and destination port, one line for each payload, ">" from
// the source or "<", and "=" lines with what must be found.
type sample struct {
	name     string
	proto    uint8
	src, dst uint16
	parts    []part
	want     []string
	weak     bool // recognised on its port only ("weak" behind the ports)
	whole    bool // not to be played in pieces ("whole")
}

type part struct {
	d    side
	data string
}

// app is the one it must be recognised as.
func (s *sample) app() string {
	for _, w := range s.want {
		if v, ok := strings.CutPrefix(w, "app "); ok {
			return v
		}
	}
	return ""
}

func loadSamples(t testing.TB) (all []sample) {
	paths, err := filepath.Glob("testdata/samples/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		s := sample{name: strings.TrimSuffix(filepath.Base(path), ".txt")}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Text()
			switch {
			case strings.HasPrefix(line, "#"), line == "":
			case line[0] == '=':
				s.want = append(s.want, line[2:])
			case line[0] == '>' || line[0] == '<':
				b, err := hex.DecodeString(line[2:])
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				p := part{sideSrc, string(b)}
				if line[0] == '<' {
					p.d = sideDst
				}
				s.parts = append(s.parts, p)
			default:
				f := strings.Fields(line)
				s.proto = map[string]uint8{"tcp": protoTCP, "udp": protoUDP, "sctp": protoSCTP}[f[0]]
				a, _ := strconv.ParseUint(f[1], 10, 16)
				b, _ := strconv.ParseUint(f[2], 10, 16)
				s.src, s.dst = uint16(a), uint16(b)
				s.weak, s.whole = slices.Contains(f, "weak"), slices.Contains(f, "whole")
			}
		}
		f.Close()
		all = append(all, s)
	}
	return all
}

// play plays a sample; pieces of at most size octets where it is a stream.
func (s *sample) play(t testing.TB, src, dst uint16, size int) *flow.Record {
	k := newTalk(t, s.proto, dst)
	k.rec.SrcPort = src
	for _, p := range s.parts {
		for data := p.data; len(data) > 0; {
			n := len(data)
			if s.proto == protoTCP {
				n = min(n, size)
			}
			k.send(p.d, data[:n])
			data = data[n:]
		}
	}
	if len(k.cuts) > 0 {
		t.Errorf("%s fills a list", s.name)
	}
	return k.end()
}

// found lists the fields of a record, for the samples' "=" lines.
func found(r *flow.Record) (out []string) {
	add := func(name string, values ...string) {
		for _, v := range values {
			if v != "" {
				out = append(out, name+" "+v)
			}
		}
	}
	add("app", r.App)
	add("user", r.User)
	add("domain", r.Domain)
	add("host", r.AppHost)
	add("version", r.AppVersion)
	add("client", r.ClientSoftware)
	add("server", r.ServerSoftware)
	add("sni", r.TLSSNI)
	add("request", r.AppRequests...)
	add("response", r.AppResponses...)
	if r.AppErrors > 0 {
		add("errors", fmt.Sprint(r.AppErrors))
	}
	const own = flow.RiskUnsafeProtocol | flow.RiskClearTextCredentials | flow.RiskSMBInsecureVersion | flow.RiskDesktopOrFileSharingSession
	add("risk", (r.Risks & own).Names()...) // those of TLS have tests of their own
	return out
}

// TestSamples plays every sample as it was, in pieces, and on ports that say
// nothing.
func TestSamples(t *testing.T) {
	for _, s := range loadSamples(t) {
		t.Run(s.name, func(t *testing.T) {
			got := found(s.play(t, s.src, s.dst, 1<<20))
			if *update {
				writeSample(t, s.name, got)
				return
			}
			if !slices.Equal(got, s.want) {
				t.Errorf("(-got +want)\n-%s\n+%s", strings.Join(got, "\n-"), strings.Join(s.want, "\n+"))
			}
			if s.proto == protoTCP && !s.whole {
				for _, size := range []int{1, 7, 100} {
					if got := found(s.play(t, s.src, s.dst, size)); !slices.Equal(got, s.want) && size*12 > len(s.parts[0].data) {
						t.Errorf("in pieces of %d (-got +want)\n-%s\n+%s", size, strings.Join(got, "\n-"), strings.Join(s.want, "\n+"))
					}
				}
			}
			r := s.play(t, 40000, 40001, 1<<20)
			if s.weak && r.App == "unknown" {
				return
			}
			if r.App != s.app() {
				t.Errorf("on any port %q, want %q", r.App, s.app())
			}
		})
	}
}

func writeSample(t *testing.T, name string, got []string) {
	path := "testdata/samples/" + name + ".txt"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "=") {
			out += line
		}
	}
	for _, g := range got {
		out += "= " + g + "\n"
	}
	if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestStrangers asks every recogniser about the samples of all others, on a
// port that says nothing: none may say yes.
func TestStrangers(t *testing.T) {
	in := NewInspector(Config{})
	says := func(p *protocol, s *sample, b string, h *hint) bool {
		if s.proto == protoUDP {
			return p.datagram != nil && p.datagram([]byte(b), h)
		}
		return p.stream != nil && p.stream([]byte(b), h) == yes
	}
	for _, s := range loadSamples(t) {
		own := slices.IndexFunc(in.protocols, func(p protocol) bool { return p.app == s.app() })
		if own < 0 {
			t.Errorf("%s: no protocol %q", s.name, s.app())
			continue
		}
		for i := range in.protocols {
			p := &in.protocols[i]
			if i == own || p.app == s.app() {
				continue
			}
			said, notes := [2]string{}, [2]uint64{}
			for _, part := range s.parts {
				h := &hint{port: 40001, ports: [2]uint16{40001, 40000}, d: part.d, other: []byte(said[part.d.other()]), note: &notes[part.d]}
				said[part.d] += part.data
				b := said[part.d]
				if s.proto == protoUDP {
					b = part.data
				}
				if own < i && says(&in.protocols[own], &s, b, h) { // asked first
					break
				}
				if says(p, &s, b, h) {
					if !related(s.app(), p.app) {
						t.Errorf("%s is taken for %s", s.name, p.app)
					}
					break
				}
			}
		}
	}
}

// related tells of protocols that carry each other, so that later octets of a
// sample may be the inner one's.
func related(outer, inner string) bool {
	switch outer {
	case "grpc":
		return inner == "http2"
	case "dtls": // set up by STUN
		return inner == "stun"
	case "socks":
		return inner == "http" || inner == "tls" || inner == "ssh"
	case "rdp", "ldap", "smtp", "ftp", "pop3", "postgresql", "mysql", "http":
		return inner == "tls" || inner == "websocket" || inner == "http"
	}
	return false
}

// addSamples gives the samples to FuzzFlow, in its language.
func addSamples(f *testing.F) {
	for _, s := range loadSamples(f) {
		var script []byte
		for _, p := range s.parts {
			for data := p.data; len(data) > 0; {
				n := min(len(data), 255)
				script = append(append(script, byte(p.d), 128, byte(n)), data[:n]...)
				data = data[n:]
			}
		}
		f.Add(s.proto, s.dst, script)
	}
}

// TestLongTransfers sends a lot through flows of every stream protocol after
// their beginning: nothing may be held, and whatever is listed stays bounded.
func TestLongTransfers(t *testing.T) {
	for _, s := range loadSamples(t) {
		if s.proto != protoTCP {
			continue
		}
		for _, filler := range []string{strings.Repeat("\x00", 1000), strings.Repeat("a", 1000), strings.Repeat("\xff", 1000), strings.Repeat("x y\r\n", 200)} {
			k := newTalk(t, s.proto, s.dst)
			for _, p := range s.parts {
				k.send(p.d, p.data)
			}
			for i := range 400 {
				k.send(side(i&1), filler)
				if held := k.in.Stats().BufferBytes; held > streamLimit {
					t.Fatalf("%s holds %d octets", s.name, held)
				}
				if len(k.rec.AppRequests) > flow.MaxList || len(k.rec.AppResponses) > flow.MaxList {
					t.Fatalf("%s: lists of %d and %d", s.name, len(k.rec.AppRequests), len(k.rec.AppResponses))
				}
			}
			k.end()
		}
	}
}

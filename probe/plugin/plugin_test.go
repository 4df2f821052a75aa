package plugin

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/flow"
)

const patterns = `
patterns:
  - app: acme
    over: tcp
    match: [{text: "ACME/"}]
  - app: meter
    over: udp
    ports: [5683, 9999]
    match: [{hex: "01 ?? 7f"}, {at: 6, text: "kW"}]
  - app: greet
    from: server
    match: [{text: "220-greet"}]
`

func TestPatterns(t *testing.T) {
	list, err := ParsePatterns([]byte(patterns))
	if err != nil {
		t.Fatal(err)
	}
	tcp, udp := Flow{Protocol: 6, SrcPort: 40000, DstPort: 80, FromSrc: true}, Flow{Protocol: 17, SrcPort: 40000, DstPort: 9999, FromSrc: true}
	server := tcp
	server.FromSrc = false
	elsewhere := udp
	elsewhere.DstPort = 53
	for _, c := range []struct {
		name, octets string
		f            Flow
		app          string
		open         bool
	}{
		{"whole", "ACME/1.0", tcp, "acme", false},
		{"begins", "ACM", tcp, "", true},
		{"another", "GET / HTTP/1.1", tcp, "", false},
		{"another from the server", "HTTP/1.1 200", server, "", false},
		{"not over UDP", "ACME/1.0", udp, "", false},
		{"mask and offset", "\x01\x55\x7f\x00\x00\x00kW5", udp, "meter", false},
		{"initiator's port", "\x01\x55\x7f\x00\x00\x00kW5", Flow{Protocol: 17, SrcPort: 5683, DstPort: 40000, FromSrc: true}, "meter", false},
		{"wrong at the offset", "\x01\x55\x7f\x00\x00\x00MW5", udp, "", false},
		{"other port", "\x01\x55\x7f\x00\x00\x00kW5", elsewhere, "", false},
		{"server", "220-greetings", server, "greet", false},
		{"client says it", "220-greetings", tcp, "", false},
		{"empty", "", tcp, "", true},
	} {
		if app, open := recognise(list, []byte(c.octets), c.f); app != c.app || open != c.open {
			t.Errorf("%s: %q %t, want %q %t", c.name, app, open, c.app, c.open)
		}
	}
	b := []byte("ACME/1.0")
	if n := testing.AllocsPerRun(100, func() { recognise(list, b, tcp) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// recognise asks the recognisers of list in order, as package dpi does: the first Yes wins and its name is returned. open
// reports that there was no Yes, but a Maybe.
func recognise(list []Recogniser, b []byte, f Flow) (app string, open bool) {
	for i := range list {
		r := &list[i]
		ask := r.Stream
		if f.Protocol == protoUDP {
			ask = r.Datagram
		}
		if ask == nil || !r.Asks(f) {
			continue
		}
		switch ask(b, f) {
		case Yes:
			return r.App, false
		case Maybe:
			open = true
		}
	}
	return "", open
}

func TestWrongPatterns(t *testing.T) {
	for name, c := range map[string]struct{ text, part string }{
		"empty":       {"", "EOF"},
		"none":        {"patterns: []", "1 to 1024"},
		"unknown key": {"patterns: [{app: a, port: 1, match: [{text: abcd}]}]", "port"},
		"no app":      {"patterns: [{match: [{text: abcd}]}]", "app"},
		"upper case":  {"patterns: [{app: Acme, match: [{text: abcd}]}]", "lower case"},
		"no match":    {"patterns: [{app: a}]", "parts"},
		"too short":   {"patterns: [{app: a, match: [{text: abc}]}]", "too few"},
		"all free":    {"patterns: [{app: a, match: [{hex: '?? ?? ?? ??'}]}]", "too few"},
		"bad hex":     {"patterns: [{app: a, match: [{hex: '1 2 3 4'}]}]", "pairs"},
		"both":        {"patterns: [{app: a, match: [{hex: '01020304', text: abcd}]}]", "either"},
		"far":         {"patterns: [{app: a, match: [{at: 5000, text: abcd}]}]", "at:"},
		"sctp":        {"patterns: [{app: a, over: sctp, match: [{text: abcd}]}]", "over"},
		"from":        {"patterns: [{app: a, from: both, match: [{text: abcd}]}]", "from"},
		"long":        {"patterns: [{app: a, match: [{text: " + strings.Repeat("x", 100) + "}]}]", "100 octets"},
	} {
		if _, err := ParsePatterns([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v, want %q in it", name, err, c.part)
		}
	}
	path := filepath.Join(t.TempDir(), "p.yaml")
	os.WriteFile(path, []byte(patterns), 0o600)
	if list, err := ReadPatterns(path); err != nil || len(list) != 3 {
		t.Errorf("%d patterns, %v", len(list), err)
	}
	if _, err := ReadPatterns(path + "x"); err == nil {
		t.Error("no error for a file that is not there")
	}
}

func FuzzPatterns(f *testing.F) {
	f.Add([]byte(patterns), []byte("ACME/1"), uint8(6), uint16(80), true)
	f.Add([]byte("patterns: [{app: a, match: [{hex: '?? 01 02 03 04', at: 3}]}]"), []byte("xx"), uint8(17), uint16(1), false)
	f.Fuzz(func(t *testing.T, text, b []byte, protocol uint8, port uint16, fromSrc bool) {
		list, err := ParsePatterns(text)
		if err != nil {
			return
		}
		if err := (Set{Recognisers: list}).Check(); err != nil {
			t.Error(err)
		}
		if app, open := recognise(list, b, Flow{protocol, port, port, fromSrc}); app != "" && open {
			t.Errorf("%q and open", app)
		}
	})
}

type noExporter string

func (n noExporter) Name() string            { return string(n) }
func (noExporter) Open(Worker) (Sink, error) { return nil, errors.New("none") }
func (noExporter) Run(context.Context) error { return nil }
func yes(b []byte, f Flow) Match             { return Yes }
func one(e ...Exporter) Set                  { return Set{Exporters: e} }
func recogniser(app string, s bool) Recogniser {
	return map[bool]Recogniser{true: {App: app, Stream: yes}, false: {App: app}}[s]
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		set  Set
		good bool
	}{
		"nothing":    {Set{}, true},
		"two":        {one(noExporter("a"), noExporter("b")), true},
		"twice":      {one(noExporter("a"), noExporter("a")), false},
		"no name":    {one(noExporter("")), false},
		"nil":        {one(nil), false},
		"recogniser": {Set{Recognisers: []Recogniser{recogniser("x", true)}}, true},
		"no app":     {Set{Recognisers: []Recogniser{recogniser("", true)}}, false},
		"no func":    {Set{Recognisers: []Recogniser{recogniser("x", false)}}, false},
	} {
		if err := c.set.Check(); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever listens on the socket gets every record, of every worker, in batches as Kafka has them.
func TestStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type batch struct {
		worker uint32
		seq    uint64
		ids    []uint64
	}
	batches := make(chan []batch)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var list []batch
		reader := flow.NewReader()
		for {
			var head [4]byte
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				batches <- list
				return
			}
			message := make([]byte, binary.BigEndian.Uint32(head[:]))
			if _, err := io.ReadFull(conn, message); err != nil {
				t.Error(err)
			}
			b, err := reader.Read(message)
			if err != nil {
				t.Error(err)
				continue
			}
			got := batch{b.Header().Worker, b.Header().Seq, nil}
			var r flow.Record
			for i := range b.Len() {
				b.Record(i, &r)
				got.ids = append(got.ids, r.FlowID)
			}
			list = append(list, got)
		}
	}()
	s, err := NewStream(StreamConfig{Address: "unix:" + path, Drain: 10e9}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	for worker := range uint32(2) {
		sink, _ := s.Open(Worker{Probe: "p", Number: worker})
		for id := range uint64(100) {
			sink.Add(&flow.Record{FlowID: id + 1, Protocol: 6, SrcPackets: 1, Start: int64(id)})
			if id == 49 {
				sink.Cut()
			}
		}
		sink.Close()
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	list := <-batches
	if len(list) != 4 || s.Dropped() != 0 {
		t.Fatalf("%d batches, %d dropped", len(list), s.Dropped())
	}
	for i, b := range list {
		want := make([]uint64, 50)
		for k := range want {
			want[k] = uint64(i%2*50 + k + 1)
		}
		if b.worker != uint32(i/2) || b.seq != uint64(i%2+1) || !slices.Equal(b.ids, want) {
			t.Errorf("batch %d: %+v", i, b)
		}
	}
	if len(s.free) != streamBatches {
		t.Errorf("%d batches are back", len(s.free))
	}
}

// Where nobody listens, all is counted as dropped and nothing waits.
func TestStreamAlone(t *testing.T) {
	s, err := NewStream(StreamConfig{Address: "unix:" + filepath.Join(t.TempDir(), "none")}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	sink, _ := s.Open(Worker{Live: true})
	for range 1000 {
		sink.Add(&flow.Record{Protocol: 6})
		sink.Cut()
	}
	sink.Close()
	stop()
	if err := <-done; err != nil || s.Dropped() != 1000 {
		t.Errorf("%d dropped, %v", s.Dropped(), err)
	}
	for address, good := range map[string]bool{"": true, "unix:/x": true, "tcp:h:1": true, "udp:h:1": false, "/x": false, "unix:": false} {
		if err := (StreamConfig{Address: address}).Check(); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

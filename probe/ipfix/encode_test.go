package ipfix

import (
	"encoding/binary"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/probe/plugin"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// drained returns an exporter whose sender is this function's result: it decodes what is queued, templates first.
func drained(t testing.TB, cfg Config) (*Exporter, plugin.Sink, func(*decoder) error) {
	cfg.Address = "127.0.0.1:1"
	x, err := New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := x.Open(plugin.Worker{Live: true})
	if err != nil {
		t.Fatal(err)
	}
	return x, sink, func(d *decoder) error {
		for {
			select {
			case m := <-x.queue:
				for i := range x.layouts {
					if key := (templateKey{m.domain, firstTemplate + uint16(i)}); m.shapes&(1<<i) != 0 && d.templates[key] == nil {
						b := appendTemplate(nil, key.id, x.layouts[i])
						if err := d.templateSet(m.domain, false, b); err != nil {
							return err
						}
					}
				}
				binary.BigEndian.PutUint16(m.buf, ipfixVersion)
				binary.BigEndian.PutUint16(m.buf[2:], uint16(len(m.buf)))
				binary.BigEndian.PutUint32(m.buf[8:], d.expect[m.domain])
				binary.BigEndian.PutUint32(m.buf[12:], m.domain)
				if err := d.message(m.buf); err != nil {
					return err
				}
				x.free <- m
			default:
				return nil
			}
		}
	}
}

// FuzzRecord: whatever a record holds, the message is within its limit and a collector can read it; counts and whole texts survive.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{}, "http", "GET", "example.org", uint8(6), uint8(4), true, uint64(5), uint64(4))
	f.Add([]byte{0x20, 1, 0xd, 0xb8}, strings.Repeat("ü", 600), "\xff\xfe", strings.Repeat("a", 1024), uint8(58), uint8(0), true, uint64(1), uint64(1))
	f.Add([]byte{1}, "", "", "", uint8(1), uint8(64), false, uint64(0), uint64(9))
	f.Fuzz(func(t *testing.T, address []byte, app, method, host string, protocol, end uint8, biflow bool, src, dst uint64) {
		for _, size := range []int{0, minMessage} {
			cfg := DefaultConfig()
			cfg.Biflow = biflow
			cfg.Queue = 64 << 10
			cfg.MessageBytes = 0
			if size > 0 {
				cfg.MessageBytes = minMessage
			}
			x, sink, drain := drained(t, cfg)
			r := testRecord()
			if len(address) > 0 {
				copy(r.SrcIP[:], address)
			}
			r.App, r.HTTPMethod, r.HTTPHost, r.HTTPURI, r.HTTPUserAgent, r.HTTPContentType = app, method, host, host, host, host
			r.Protocol, r.EndReason, r.SrcPackets, r.DstPackets = protocol, flow.EndReason(end), src, dst
			r.Start, r.End = int64(src), int64(dst)
			sink.Add(r)
			sink.Close()
			d := newDecoder()
			if err := drain(d); err != nil {
				t.Fatal(err)
			}
			if d.largest > x.limit {
				t.Fatalf("a message of %d octets, limit %d", d.largest, x.limit)
			}
			var packets uint64
			for _, got := range d.flows() {
				packets += got.u64(packetDeltaCount) + got.reverse(packetDeltaCount)
				for e, v := range got.fields {
					if e.id == applicationName && (!utf8.Valid(v) || len(v) > 3*x.text) {
						t.Fatalf("application %q", v)
					}
				}
				if utf8.ValidString(app) && len(app) <= x.text && got.text(applicationName) != app {
					t.Fatalf("application %q, want %q", got.text(applicationName), app)
				}
			}
			if packets != src+dst || x.Stats().DroppedQueue != 0 {
				t.Fatalf("%d packets, want %d; %+v", packets, src+dst, x.Stats())
			}
		}
	})
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name, in string
		limit    int
		want     string
	}{
		{"empty", "", 10, ""}, {"whole", "abc", 3, "abc"}, {"cut", "abcd", 3, "abc"}, {"between characters", "aüü", 4, "aü"},
		{"no UTF-8", "a\xffb", 10, "a?b"}, {"all bad", "\xff\xff\xff\xff\xff\xff", 4, "????"}, {"long", strings.Repeat("x", 300), 300, strings.Repeat("x", 300)},
	} {
		b := appendText(nil, c.in, c.limit)
		n, head := int(b[0]), 1
		if n == 255 {
			n, head = int(binary.BigEndian.Uint16(b[1:])), 3
		}
		if got := string(b[head:]); got != c.want || n != len(got) {
			t.Errorf("%s: %q of length %d, want %q", c.name, got, n, c.want)
		}
	}
}

// Add allocates nothing, and a full queue costs records, not time.
func TestAddAllocations(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Queue = 16 << 10
	x, sink, _ := drained(t, cfg)
	r := testRecord()
	for range 1000 {
		sink.Add(r)
	}
	if n := testing.AllocsPerRun(1000, func() { sink.Add(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	st := x.Stats()
	var queued uint64
	sink.Close()
	for len(x.queue) > 0 {
		queued += (<-x.queue).flows
	}
	if st.DroppedQueue == 0 || st.DroppedQueue+queued != 2*2001 { // AllocsPerRun calls once more
		t.Errorf("%d dropped, %d queued", st.DroppedQueue, queued)
	}
}

// Sampled packets are told as such, and the counts are those of the sample: a collector that scales gets the record's.
func TestSampling(t *testing.T) {
	address, received := listenUDP(t)
	cfg := DefaultConfig()
	cfg.Address, cfg.SamplePackets = address, 10
	export(t, cfg, func(add func(*flow.Record)) {
		r := testRecord()
		r.SrcPackets, r.SrcBytes = 50, 5000
		add(r)
	})
	d := newDecoder()
	for _, b := range received() {
		if err := d.message(b); err != nil {
			t.Fatal(err)
		}
	}
	told := uint64(0)
	for _, r := range d.records {
		if r.template == samplingTemplate {
			told = r.u64(samplingPacketInterval) + r.u64(samplingPacketSpace)
		}
	}
	if r := d.flows()[0]; told != 10 || r.u64(packetDeltaCount)*told != 50 || r.u64(octetDeltaCount)*told != 5000 {
		t.Errorf("1 in %d, %d packets", told, r.u64(packetDeltaCount))
	}
}

// Over UDP, templates and interfaces are told again and again, so that a collector that starts late can read.
func TestTemplatesAgain(t *testing.T) {
	address, received := listenUDP(t)
	cfg := DefaultConfig()
	cfg.Address, cfg.Templates = address, time.Millisecond
	x, err := New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := x.Open(plugin.Worker{})
	if err != nil {
		t.Fatal(err)
	}
	export := func(func(*flow.Record)) {
		sink.Add(testRecord())
		sink.Cut()
		for begin := time.Now(); x.Stats().Messages < 20 && time.Since(begin) < 10*time.Second; { // most of them templates
			runtime.Gosched()
		}
	}
	runExporter(t, x, export)
	d := newDecoder()
	for _, b := range received() {
		if err := d.message(b); err != nil {
			t.Fatal(err)
		}
	}
	if d.refreshed < 10 {
		t.Errorf("templates told again %d times", d.refreshed)
	}
}

func BenchmarkAdd(b *testing.B) {
	x, sink, _ := drained(b, DefaultConfig())
	r := testRecord()
	b.ReportAllocs()
	for b.Loop() {
		sink.Add(r)
		for len(x.queue) > 0 {
			x.free <- <-x.queue
		}
	}
}

package ipfix

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/probe/plugin"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// readRecords gives the records of a capture, as the probe makes them, to emit.
func readRecords(t testing.TB, path string, emit func(*flow.Record)) {
	t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dec := decode.New(decode.DefaultConfig())
	table := meter.New(meter.DefaultConfig(), dpi.NewInspector(dpi.DefaultConfig()), emit)
	var f capture.Frame
	var p decode.Packet
	for {
		if err := src.Next(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if dec.Decode(&f, &p) == decode.OK {
			table.ObserveOn(&p, "eth0")
		}
	}
	table.Flush(flow.EndForced)
}

var realCaptures = []string{"zeek/wikipedia.pcap", "zeek/smtp.pcap", "community-id/icmp6.pcap", "zeek/tunnels/vxlan.pcap",
	"zeek/http/methods.pcap", "zeek/q-in-q.pcap", "community-id/sctp.pcap", "zeek/tunnels/Teredo.pcap"}

// export runs an exporter over the records that feed gives, and returns it after everything was sent.
func export(t testing.TB, cfg Config, feed func(add func(*flow.Record))) *Exporter {
	t.Helper()
	x, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	runExporter(t, x, feed)
	return x
}

func runExporter(t testing.TB, x *Exporter, feed func(add func(*flow.Record))) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	sink, err := x.Open(plugin.Worker{Probe: "p", Number: 0})
	if err != nil {
		t.Fatal(err)
	}
	feed(sink.Add)
	sink.Close()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// listenUDP returns a collector's address and what gives the messages it got when the exporter has ended.
func listenUDP(t testing.TB) (string, func() [][]byte) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadBuffer(8 << 20)
	t.Cleanup(func() { conn.Close() })
	messages := make(chan [][]byte)
	go func() {
		var list [][]byte
		buf := make([]byte, 65536)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				messages <- list
				return
			}
			list = append(list, append([]byte(nil), buf[:n]...))
		}
	}()
	return conn.LocalAddr().String(), func() [][]byte {
		conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // loopback has delivered what was sent
		return <-messages
	}
}

// listenTCP does the same for one connection after another; each is a session.
func listenTCP(t testing.TB) (string, func() [][]byte) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	sessions := make(chan [][]byte)
	go func() {
		var list [][]byte
		for {
			conn, err := l.Accept()
			if err != nil {
				sessions <- list
				return
			}
			b, _ := io.ReadAll(conn)
			conn.Close()
			list = append(list, b)
		}
	}()
	return l.Addr().String(), func() [][]byte {
		l.Close()
		return <-sessions
	}
}

// sums of both directions.
type sums struct{ flows, packets, octets, frames uint64 }

// Every record of real captures arrives over UDP and over TCP, as uniflows and as biflows, with the same counts, addresses and texts.
func TestExport(t *testing.T) {
	root := corpus.Dir(t)
	for _, c := range []struct {
		name, transport string
		biflow          bool
	}{{"udp uniflow", "udp", false}, {"udp biflow", "udp", true}, {"tcp biflow", "tcp", true}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Transport, cfg.Biflow = c.transport, c.biflow
			listen := listenUDP
			if c.transport == "tcp" {
				listen = listenTCP
			}
			address, received := listen(t)
			cfg.Address = address
			var want sums
			https := make(map[string]int)
			both, apps := 0, make(map[string]int)
			x := export(t, cfg, func(add func(*flow.Record)) {
				for _, path := range realCaptures {
					readRecords(t, filepath.Join(root, path), func(r *flow.Record) {
						add(r)
						for _, n := range [2]uint64{r.SrcPackets, r.DstPackets} {
							if n > 0 && !c.biflow {
								want.flows++
								apps[r.App]++
							}
						}
						if c.biflow && r.Packets() > 0 {
							want.flows++
							apps[r.App]++
						}
						if r.SrcPackets > 0 && r.DstPackets > 0 {
							both++
						}
						want.packets += r.Packets()
						want.octets += r.SrcBytes + r.DstBytes
						want.frames += r.FrameBytes()
						if r.HTTPURI != "" {
							https[r.HTTPURI]++
						}
					})
				}
			})
			d := newDecoder()
			for _, b := range received() {
				if err := d.stream(b); err != nil {
					t.Fatal(err)
				}
			}
			var got sums
			gotApps, reversed := make(map[string]int), 0
			for _, r := range d.flows() {
				got.flows++
				got.packets += r.u64(packetDeltaCount) + r.reverse(packetDeltaCount)
				got.octets += r.u64(octetDeltaCount) + r.reverse(octetDeltaCount)
				got.frames += r.u64(layer2OctetDeltaCount) + r.reverse(layer2OctetDeltaCount)
				gotApps[r.text(applicationName)]++
				if uri := r.text(httpRequestTarget); uri != "" && https[uri] == 0 && len(uri) < 180 {
					t.Errorf("target %q is of no record", uri)
				}
				if _, ok := r.fields[element{packetDeltaCount, true}]; ok {
					reversed++
				}
				if start, end := r.u64(flowStartMilliseconds), r.u64(flowStartMilliseconds+1); end < start {
					t.Errorf("flow %d ends before it starts", r.u64(flowID))
				}
			}
			if got != want || want.flows < 100 {
				t.Errorf("(-got +want)\n-%+v\n+%+v", got, want)
			}
			if c.biflow && reversed != both {
				t.Errorf("%d biflows, want %d", reversed, both)
			}
			for app, n := range apps {
				if gotApps[app] != n {
					t.Errorf("application %q: %d, want %d", app, gotApps[app], n)
				}
			}
			st := x.Stats()
			if st.Records != want.flows || st.DroppedQueue+st.DroppedSend+st.DroppedEnd != 0 || st.Messages != uint64(d.messages) || d.largest > x.limit {
				t.Errorf("%+v; collector: %d messages, largest %d of %d", st, d.messages, d.largest, x.limit)
			}
			statistics(t, d, want.flows)
		})
	}
}

// statistics compares what the exporter says last of itself with what came.
func statistics(t *testing.T, d *decoder, flows uint64) {
	t.Helper()
	var last, process data
	var names []string
	for _, r := range d.records {
		switch r.template {
		case statisticsTemplate:
			last = r
		case processTemplate:
			process = r
		case interfaceTemplate:
			names = append(names, r.text(interfaceName))
		}
	}
	if last.u64(exportedFlowRecordTotal) != flows || last.u64(exportedMessageTotalCount) != uint64(d.messages)-1 { // it cannot count the message it is in
		t.Errorf("told %d records in %d messages", last.u64(exportedFlowRecordTotal), last.u64(exportedMessageTotalCount))
	}
	if process.u64(notSentFlowTotalCount) != 0 || process.u64(systemInitTimeMilliseconds) == 0 {
		t.Errorf("process statistics %v", process.fields)
	}
	if len(names) != 1 || names[0] != "eth0" {
		t.Errorf("interfaces %q", names)
	}
}

func testRecord() *flow.Record {
	return &flow.Record{Interface: "eth1", VLAN: 7, SrcMAC: 0x020000000001, DstMAC: 0x020000000002,
		SrcIP: flow.AddrFrom(netip.MustParseAddr("192.0.2.1")), DstIP: flow.AddrFrom(netip.MustParseAddr("198.51.100.2")),
		SrcPort: 40000, DstPort: 80, Protocol: 6, Start: 1_700_000_000_123_456_789, End: 1_700_000_001_000_000_001, EndReason: flow.EndDetected, FlowID: 9,
		SrcPackets: 5, DstPackets: 4, SrcBytes: 500, DstBytes: 4000, SrcFrameBytes: 570, DstFrameBytes: 4056, SrcTCPFlags: 0x1b, DstTCPFlags: 0x1a,
		SrcTTL: 64, DstTTL: 57, SrcDSCP: 46, Response: 20_000, App: "http", HTTPMethod: "GET", HTTPHost: "example.org", HTTPURI: "/a", HTTPStatus: 200,
		HTTPUserAgent: "curl/8", HTTPContentType: "text/html"}
}

// Every field of one record, in both forms, at each resolution of time.
func TestFields(t *testing.T) {
	for _, resolution := range []string{"milliseconds", "microseconds", "nanoseconds"} {
		for _, biflow := range []bool{false, true} {
			address, received := listenUDP(t)
			cfg := DefaultConfig()
			cfg.Address, cfg.Times, cfg.Biflow = address, resolution, biflow
			export(t, cfg, func(add func(*flow.Record)) { add(testRecord()) })
			d := newDecoder()
			for _, b := range received() {
				if err := d.message(b); err != nil {
					t.Fatal(err)
				}
			}
			list := d.flows()
			if want := map[bool]int{false: 2, true: 1}[biflow]; len(list) != want {
				t.Fatalf("%d records, want %d", len(list), want)
			}
			out, back := list[0], list[len(list)-1].u64
			if biflow {
				back = out.reverse
			}
			start := timeOf(resolution)
			for _, c := range []struct {
				name      string
				got, want uint64
			}{
				{"start", seconds(resolution, out.u64(start)), 1_700_000_000_123_456_789},
				{"end", seconds(resolution, out.u64(start+1)), 1_700_000_001_000_000_001},
				{"reverse start", seconds(resolution, back(start)), 1_700_000_000_143_456_789},
				{"source", out.u64(sourceIPv4Address), 0xc0000201}, {"destination", out.u64(destinationIPv4Address), 0xc6336402},
				{"ports", out.u64(sourceTransportPort)<<16 | out.u64(destinationTransportPort), 40000<<16 | 80},
				{"packets", out.u64(packetDeltaCount), 5}, {"reverse packets", back(packetDeltaCount), 4},
				{"octets", out.u64(octetDeltaCount), 500}, {"reverse octets", back(octetDeltaCount), 4000},
				{"frames", out.u64(layer2OctetDeltaCount), 570}, {"reverse frames", back(layer2OctetDeltaCount), 4056},
				{"flags", out.u64(tcpControlBits), 0x1b}, {"reverse flags", back(tcpControlBits), 0x1a},
				{"ttl", out.u64(ipTTL), 64}, {"reverse ttl", back(ipTTL), 57},
				{"vlan", out.u64(vlanID), 7}, {"flow id", out.u64(flowID), 9}, {"interface", out.u64(ingressInterface), 1},
				{"mac", out.u64(sourceMacAddress), 0x020000000001}, {"ethertype", out.u64(ethernetType), 0x800}, {"class", out.u64(ipClassOfService), 46 << 2}, {"end reason", out.u64(flowEndReason), 3}, {"status", out.u64(httpStatusCode), 200},
			} {
				want := c.want
				switch {
				case want > 1e18 && resolution == "milliseconds":
					want -= want % 1e6
				case want > 1e18 && resolution == "microseconds":
					want -= want % 1000
				}
				if c.got != want {
					t.Errorf("%s %s biflow %t: %d, want %d", resolution, c.name, biflow, c.got, want)
				}
			}
			got := [...]string{out.text(applicationName), out.text(httpRequestMethod), out.text(httpRequestHost), out.text(httpRequestTarget), out.text(httpUserAgent), out.text(httpContentType)}
			if want := [...]string{"http", "GET", "example.org", "/a", "curl/8", "text/html"}; got != want {
				t.Errorf("texts %q", got)
			}
			if dir := out.u64(biflowDirection); biflow && dir != 1 {
				t.Errorf("biflowDirection %d", dir)
			}
			if !biflow {
				if b := list[1]; b.u64(sourceIPv4Address) != 0xc6336402 || b.u64(sourceTransportPort) != 80 || b.u64(sourceMacAddress) != 0x020000000002 {
					t.Error("the second uniflow does not come from the responder")
				}
			}
		}
	}
}

// seconds turns a time of IPFIX into ns since the Unix epoch, cut to its resolution.
func seconds(resolution string, v uint64) uint64 {
	if resolution == "milliseconds" {
		return v * 1e6
	}
	fraction := v & 0xffffffff
	if resolution == "microseconds" { // as section 6.1.9 has it: to the nearest
		return (v>>32-ntpEpoch)*1e9 + (fraction*1e6+1<<31)>>32*1000
	}
	return (v>>32-ntpEpoch)*1e9 + fraction*1e9>>32
}

func TestCheck(t *testing.T) {
	change := func(f func(*Config)) Config {
		c := DefaultConfig()
		c.Address = "127.0.0.1:4739"
		f(&c)
		return c
	}
	for name, c := range map[string]struct {
		cfg  Config
		good bool
	}{
		"default":    {DefaultConfig(), true},
		"address":    {change(func(*Config) {}), true},
		"no port":    {change(func(c *Config) { c.Address = "collector" }), false},
		"sctp":       {change(func(c *Config) { c.Transport = "sctp" }), false},
		"dtls":       {change(func(c *Config) { c.TLS.Enabled = true }), false},
		"times":      {change(func(c *Config) { c.Times = "days" }), false},
		"small":      {change(func(c *Config) { c.MessageBytes = 100 }), false},
		"large":      {change(func(c *Config) { c.MessageBytes = 65530 }), false},
		"large tcp":  {change(func(c *Config) { c.MessageBytes, c.Transport = 65530, "tcp" }), true},
		"templates":  {change(func(c *Config) { c.Templates = 0 }), false},
		"tiny queue": {change(func(c *Config) { c.Queue = 100 }), false},
	} {
		if err := c.cfg.Check(); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

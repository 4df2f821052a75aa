package enrich

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// testDatabase is the content of a .mmdb file.
func testDatabase(t testing.TB, kind string, records map[string]mmdbtype.Map) []byte {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, IncludeReservedNetworks: true, RecordSize: 24})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, r := range records {
		_, ipnet, err := net.ParseCIDR(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Insert(ipnet, r); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asnRecord(n uint32, name string) mmdbtype.Map {
	return mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(n), "autonomous_system_organization": mmdbtype.String(name)}
}

func cityRecord(country, city string) mmdbtype.Map {
	return mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(country), "names": mmdbtype.Map{"en": mmdbtype.String("x")}},
		"city": mmdbtype.Map{"names": mmdbtype.Map{"de": mmdbtype.String("y"), "en": mmdbtype.String(city)}}}
}

// write makes or replaces a file, as an operator's job would: another name
// first.
func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// file is a file of its own with a text.
func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, []byte(text))
	return path
}

// enricher has read cfg, over the defaults.
func enricher(t testing.TB, cfg Config) *Enricher {
	t.Helper()
	standard := DefaultConfig()
	if cfg.Reload == 0 {
		cfg.Reload = standard.Reload
	}
	if cfg.MaxTime == 0 {
		cfg.MaxTime = time.Minute
	}
	if cfg.MaxIndicators == 0 {
		cfg.MaxIndicators = standard.MaxIndicators
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Millisecond
	}
	if err := Check(cfg); err != nil {
		t.Fatal(err)
	}
	level := "error"
	if testing.Verbose() {
		level = "info"
	}
	o, err := ops.New("collector", ops.Config{LogLevel: level, LogFormat: "text"})
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	e.Reload(t.Context())
	return e
}

// block is the records as a block.
func block(t testing.TB, records ...*flow.Record) *flow.Block {
	t.Helper()
	enc := flow.NewEncoder()
	for _, r := range records {
		enc.Add(r)
	}
	msg, err := enc.Seal(&flowpb.FlowBatch{Probe: "p", Epoch: 1, Seq: 1})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := flow.NewReader().Read(msg)
	if err != nil {
		t.Fatal(err)
	}
	b, rows := flow.NewBlock(), make([]int, len(records))
	for i := range rows {
		rows[i] = i
	}
	b.Add(batch, rows)
	return b
}

func ip(s string) flow.Addr { return flow.Addr(netip.MustParseAddr(s).As16()) }

// record is a flow between two addresses.
func record(src, dst string) *flow.Record {
	return &flow.Record{SrcIP: ip(src), DstIP: ip(dst), Protocol: 6, DstPort: 443, Start: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).UnixNano(),
		End: time.Date(2026, 11, 1, 12, 0, 1, 0, time.UTC).UnixNano(), SrcPackets: 1}
}

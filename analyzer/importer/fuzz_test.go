package importer

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/importer/argus"
	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/datagram"
	"github.com/tapwatch/tapwatch/analyzer/importer/eve"
	"github.com/tapwatch/tapwatch/analyzer/importer/netflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/nfcapd"
	"github.com/tapwatch/tapwatch/analyzer/importer/sflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/analyzer/importer/zeek"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// acceptable puts records into batches as the collector will read them: whatever
// the input, a batch is valid.
type acceptable struct {
	t *testing.T
	e *flow.Encoder
	r *flow.Reader
}

// newAcceptable is made once for a target: encoders are large.
func newAcceptable() *acceptable { return &acceptable{e: flow.NewEncoder(), r: flow.NewReader()} }

func (a *acceptable) emit(r *flow.Record) error {
	if !source.Storable(r.Start, r.End) {
		a.t.Fatalf("times %d to %d", r.Start, r.End)
	}
	if r.Origin == "" {
		a.t.Fatal("no origin")
	}
	for _, list := range []int{len(r.DNSNames), len(r.DNSAnswers), len(r.HTTPRequests), len(r.AppRequests), len(r.AppResponses), len(r.CertNames)} {
		if list > flow.MaxList {
			a.t.Fatalf("a list of %d", list)
		}
	}
	for _, s := range append(append([]string{r.TLSSNI, r.HTTPHost, r.HTTPURI, r.User, r.History, r.App, r.JA3, r.Interface, r.SSHClient}, r.DNSNames...), r.HTTPRequests...) {
		if len(s) > flow.MaxString {
			a.t.Fatalf("a string of %d octets", len(s))
		}
	}
	if !a.e.Fits(r) {
		a.close()
	}
	a.e.Add(r)
	return nil
}

func (a *acceptable) close() {
	m, err := a.e.Seal(&flowpb.FlowBatch{Probe: "p", Epoch: 1, Seq: 1})
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.r.Read(m); err != nil {
		a.t.Fatalf("the collector would refuse the batch: %v", err)
	}
}

// closes checks the account of an import.
func closes(t *testing.T, tally source.Tally) {
	t.Helper()
	if tally.Read != tally.Converted+tally.Joined+tally.Lost() {
		t.Fatalf("the account does not close: %s", tally.String())
	}
}

func FuzzZeek(f *testing.F) {
	f.Add([]byte("#separator \\x09\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\n#path\tconn\n1.5\tC1\t1.2.3.4\t5\t6.7.8.9\t10\ttcp\n"),
		[]byte("#fields\tts\tuid\tid.orig_h\tid.resp_h\tquery\tanswers\n#path\tdns\n1.5\tC1\t1.2.3.4\t6.7.8.9\ta.b\tTXT 3 abc,1.2.3.4\n"))
	f.Add([]byte(`{"_path":"conn","ts":1.5,"uid":"C1","id":{"orig_h":"::1","resp_h":"::2"},"proto":"icmp"}`), []byte(`{"ts":"2020-01-01T00:00:00Z","uid":"C1","method":"GET","trans_depth":1,"status_code":200}`))
	a := newAcceptable()
	f.Fuzz(func(t *testing.T, conn, other []byte) {
		im := zeek.New()
		a.t = t
		zeek.Look("x.log", bytes.NewReader(conn))
		if err := im.Others(context.Background(), "dns.log", bytes.NewReader(other)); err != nil {
			t.Fatal(err)
		}
		if err := im.Connections(context.Background(), "conn.log", bytes.NewReader(conn), a.emit); err != nil {
			t.Fatal(err)
		}
		if err := im.Orphans(true, a.emit); err != nil {
			t.Fatal(err)
		}
		a.close()
	})
}

func FuzzEVE(f *testing.F) {
	for line := range bytes.Lines([]byte(eveLog)) {
		f.Add(line)
	}
	f.Add([]byte(eveLog))
	a := newAcceptable()
	f.Fuzz(func(t *testing.T, b []byte) {
		im := eve.New()
		a.t = t
		if err := im.File(context.Background(), "eve.json", bytes.NewReader(b), a.emit); err != nil {
			t.Fatal(err)
		}
		if err := im.Flush(a.emit); err != nil {
			t.Fatal(err)
		}
		closes(t, im.Tally)
		a.close()
	})
}

func FuzzArgus(f *testing.F) {
	f.Add([]byte("StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,TotBytes,SrcBytes,SrcPkts,Label\n" +
		"2018/12/18 14:00:00.075359,0.1,tcp,1.2.3.4,0x10,   <-,5.6.7.8,445,S_RA,0,0,2,134,70,1,\n"))
	a := newAcceptable()
	f.Fuzz(func(t *testing.T, b []byte) {
		a.t = t
		var im argus.Importer
		if err := im.File(context.Background(), "x.binetflow", bytes.NewReader(b), a.emit); err != nil {
			t.Fatal(err)
		}
		closes(t, im.Tally)
		a.close()
	})
}

func FuzzDatagrams(f *testing.F) {
	for _, name := range []string{"wikipedia.netflow5", "wikipedia.netflow9", "wikipedia.ipfix"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	// pcap of one UDP packet over Ethernet
	f.Add(append([]byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 46, 0, 0, 0, 46, 0, 0, 0},
		append(make([]byte, 12), 8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 0, 12, 0, 0, 0, 9, 0, 1)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		datagram.Read(bytes.NewReader(b), func(d datagram.Datagram) error {
			if len(d.Payload) > 256<<10 {
				t.Fatalf("a datagram of %d octets", len(d.Payload))
			}
			return nil
		}, func(int64) {})
	})
}

func FuzzNetflow(f *testing.F) {
	for _, name := range []string{"wikipedia.netflow5", "wikipedia.netflow9", "wikipedia.ipfix", "wikipedia-biflow.ipfix", "wikipedia-sampled.netflow9"} {
		file, err := os.Open("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		var all [][]byte
		if err := datagram.Read(file, func(d datagram.Datagram) error { all = append(all, bytes.Clone(d.Payload)); return nil }, func(int64) {}); err != nil {
			f.Fatal(err)
		}
		file.Close()
		f.Add(all[0], all[len(all)-1])
	}
	a := newAcceptable()
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a.t = t
		table := biflow.NewTable(a.emit)
		d := netflow.New()
		for _, b := range [][]byte{first, second, first} {
			if err := d.Datagram(flow.Addr{1}, 1e18, b, table.Add); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		a.close()
	})
}

func FuzzSFlow(f *testing.F) {
	f.Add([]byte{0, 0, 0, 5, 0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 96, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 2, 0,
		0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 56, 0, 0, 0, 11, 0, 0, 0, 60, 0, 0, 0, 4, 0, 0, 0, 40, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 1, 2, 3, 4,
		5, 6, 7, 8, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 5, 0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 44, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 2, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
	a := newAcceptable()
	f.Fuzz(func(t *testing.T, b []byte) {
		a.t = t
		table := biflow.NewTable(a.emit)
		d := sflow.New()
		for i := range 2 {
			if err := d.Datagram(flow.Addr{1}, 1e18+int64(i), b, table.Add); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Flush(table.Add); err != nil {
			t.Fatal(err)
		}
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		a.close()
	})
}

func FuzzNfcapd(f *testing.F) {
	files, err := filepath.Glob("testdata/*.nfcapd")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	a := newAcceptable()
	f.Fuzz(func(t *testing.T, b []byte) {
		a.t = t
		table := biflow.NewTable(a.emit)
		d := nfcapd.New()
		for _, emit := range []nfcapd.Emit{nil, table.Add} {
			if err := d.Read(bytes.NewReader(b), emit); err != nil {
				return // no file of nfcapd, or one that is refused
			}
		}
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		a.close()
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\nc"))
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := source.Unpack(bytes.NewReader(b))
		if err != nil {
			return
		}
		for l := source.NewLines(io.LimitReader(r, 8<<20)); ; {
			if line, ok := l.Next(); !ok {
				break
			} else if len(line) > source.MaxLine {
				t.Fatalf("a line of %d octets", len(line))
			}
		}
	})
}

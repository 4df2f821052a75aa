package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// store keeps batches as the collector does: by identity, the first counts.
type store struct {
	t       *testing.T
	reader  *flow.Reader
	batches map[string]*flow.Batch
	order   []string
	again   int   // batches that were there
	fail    int   // the publication of the so manieth batch fails, every other time after it was stored; 0: none
	lost    bool  // the next failure is before
	err     error // what it fails with
}

func newStore(t *testing.T) *store {
	return &store{t: t, reader: flow.NewReader(), batches: make(map[string]*flow.Batch), err: errors.New("killed")}
}

func (s *store) publish(_ context.Context, r spool.Record) error {
	b, err := s.reader.Read(r.Value)
	if err != nil {
		s.t.Fatalf("a batch that cannot be read: %v", err)
	}
	if s.fail == 1 {
		if s.lost = !s.lost; s.lost {
			s.fail = 0
			return s.err
		}
	}
	h := b.Header()
	id := fmt.Sprintf("%s/%d/%d/%d", h.Probe, h.Epoch, h.Worker, h.Seq)
	if _, ok := s.batches[id]; ok {
		s.again++
	} else {
		s.batches[id] = b
		s.order = append(s.order, id)
	}
	if s.fail > 0 {
		if s.fail--; s.fail == 0 {
			return s.err
		}
	}
	return nil
}

// rows are the keys and start times of all stored records of segment 0.
func (s *store) rows() map[string]int {
	all := make(map[string]int)
	for _, id := range s.order {
		b := s.batches[id]
		var r flow.Record
		for i := range b.Len() {
			b.Record(i, &r)
			if r.Segment == 0 {
				all[fmt.Sprintf("%d %s %s", r.Start, keyOf(&r), strings.Join(r.DNSNames, ","))]++
			}
		}
	}
	return all
}

const connHeader = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n#open\t%s\n" +
	"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\n"

const dnsHeader = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tquery\n"

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func connLine(i int) string {
	return fmt.Sprintf("%d.5\tC%d\t10.0.0.%d\t%d\t192.0.2.1\t53\tudp\tdns\t0.1\t40\t80\tSF\n", 1700000000+i, i, i%250+1, 1024+i%60000)
}

// Logs grow, are rotated, lines come in halves, and the process is killed at
// every batch, before and after Kafka has it: each line is stored once.
func TestFollowStoresEachLineOnce(t *testing.T) {
	for _, kill := range []bool{false, true} {
		dir := t.TempDir()
		conn, dns := filepath.Join(dir, "conn.log"), filepath.Join(dir, "dns.log")
		cfg := DefaultConfig()
		cfg.State = filepath.Join(dir, "state.json")
		s := newStore(t)
		var f *follower
		start := func() {
			var err error
			if f, err = newFollower(cfg, []string{conn, dns}, s.publish); err != nil {
				t.Fatal(err)
			}
		}
		kills := 0
		poll := func() {
			for range 2 { // conn.log is one poll behind
				if kill {
					s.fail = 1
				}
				for {
					err := f.poll(context.Background())
					if err == nil {
						break
					}
					if !errors.Is(err, s.err) {
						t.Fatal(err)
					}
					kills++
					f.close()
					start()
					s.fail = 0
					if kill && kills%3 == 0 {
						s.fail = 1
					}
				}
			}
		}
		start()
		lines, waiting := 0, ""
		write := func(n int) {
			for range n {
				appendTo(t, dns, fmt.Sprintf("%d.5\tC%d\t10.0.0.%d\t1\t192.0.2.1\t53\thost%d.example\n", 1700000000+lines, lines, lines%250+1, lines))
				line := connLine(lines)
				appendTo(t, conn, waiting+line[:len(line)/2])
				waiting = line[len(line)/2:]
				lines++
			}
		}
		appendTo(t, conn, fmt.Sprintf(connHeader, "first"))
		appendTo(t, dns, dnsHeader)
		for _, n := range []int{1, 10, 300, 0, 3} {
			write(n)
			poll()
		}
		appendTo(t, conn, waiting)
		waiting = ""
		// Rotated while it is followed, and the last lines come after the last poll.
		if err := os.Rename(conn, filepath.Join(dir, "conn.00-01.log")); err != nil {
			t.Fatal(err)
		}
		poll()
		appendTo(t, conn, fmt.Sprintf(connHeader, "second"))
		write(20)
		poll()
		appendTo(t, conn, waiting)
		waiting = ""
		// Rotated while nobody follows.
		f.close()
		if err := os.Rename(conn, filepath.Join(dir, "conn.01-02.log")); err != nil {
			t.Fatal(err)
		}
		appendTo(t, conn, fmt.Sprintf(connHeader, "third"))
		start()
		write(7)
		appendTo(t, conn, waiting)
		poll()
		poll()
		f.close()

		rows := s.rows()
		if len(rows) != lines {
			t.Errorf("kill %v: %d lines, %d rows", kill, lines, len(rows))
		}
		for key, n := range rows {
			if n != 1 {
				t.Errorf("kill %v: %d times %s", kill, n, key)
			}
		}
		if kill && (kills < 5 || s.again == 0) {
			t.Errorf("%d kills, %d batches made again: the test tests nothing", kills, s.again)
		}
	}
}

// The same file makes the same batches, whatever else is imported with it; another content others.
func TestImportIsRepeatable(t *testing.T) {
	dir := t.TempDir()
	conn, dns := filepath.Join(dir, "conn.log"), filepath.Join(dir, "dns.log")
	var log, names bytes.Buffer
	fmt.Fprintf(&log, connHeader, "x")
	names.WriteString(dnsHeader)
	for i := range 1700 {
		log.WriteString(connLine(i))
		fmt.Fprintf(&names, "%d.5\tC%d\t10.0.0.1\t1\t192.0.2.1\t53\thost%d.example\nbroken line %d\n", 1700000000+i, i, i, i)
	}
	appendTo(t, conn, log.String())
	appendTo(t, dns, names.String())
	s := newStore(t)
	run := func(files ...string) {
		sink := NewBatches(context.Background(), "import", "", s.publish)
		if _, err := Zeek(context.Background(), files, sink); err != nil {
			t.Fatal(err)
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run(conn, dns)
	want := s.rows()
	if len(want) != 1700 {
		t.Fatalf("%d rows", len(want))
	}
	run(dns, conn)
	run(conn) // without names: nothing new, nothing lost
	if got := s.rows(); len(got) != len(want) {
		t.Errorf("%d rows, %d after the same file again", len(want), len(got))
	}
	for key, n := range s.rows() {
		if n != 1 {
			t.Errorf("%d times %s", n, key)
		}
	}
	appendTo(t, conn, connLine(5000))
	before := len(s.order)
	run(conn)
	if len(s.order) == before {
		t.Error("another file has the identity of the first")
	}
}

// The ledger of an import closes: what was made and not lost is what was stored, and the end is said.
func TestLedgerCloses(t *testing.T) {
	dir := t.TempDir()
	conn := filepath.Join(dir, "conn.log")
	appendTo(t, conn, fmt.Sprintf(connHeader, "x")+connLine(1)+"rubbish\n"+connLine(2)+strings.Replace(connLine(3), "192.0.2.1", "nowhere", 1)+strings.Replace(connLine(4), "1700000004.5", "-", 1))
	s := newStore(t)
	sink := NewBatches(context.Background(), "import", "lab", s.publish)
	tally, err := Zeek(context.Background(), []string{conn}, sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	var records, lost, rows uint64
	ended := false
	for _, id := range s.order {
		h := s.batches[id].Header()
		rows += uint64(h.Count)
		ended = ended || h.EndOfStream
		for _, l := range h.Ledger {
			records += l.Records
			for _, x := range l.Losses {
				lost += x.Records
			}
		}
	}
	if rows != 2 || records-lost != rows || lost != 3 || !ended {
		t.Errorf("%d rows, %d records made, %d lost, ended %v", rows, records, lost, ended)
	}
	if tally.Read != 5 || tally.Converted != 2 || tally.Lost() != 3 {
		t.Errorf("%s", tally.String())
	}
	for reason, at := range map[string]string{"import_malformed": ":9", "import_address": ":11", "import_time": ":12"} {
		if first := tally.Skipped[reason].First; !strings.HasPrefix(first, conn+at) {
			t.Errorf("%s is at %q, expected line %s", reason, first, at)
		}
	}
}

// records are all that is stored.
func (s *store) records() (all []flow.Record) {
	for _, id := range s.order {
		b := s.batches[id]
		for i := range b.Len() {
			var r flow.Record
			b.Record(i, &r)
			all = append(all, r)
		}
	}
	return all
}

package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// database returns a Store on a database of the test's own.
func database(t *testing.T) (*Store, driver.Conn) {
	t.Helper()
	conn := localtest.Tables(t)
	return open(t, conn), conn
}

// open is another process on the same database.
func open(t *testing.T, conn driver.Conn) *Store {
	t.Helper()
	o, err := ops.New("collector", ops.Config{LogLevel: "error"})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Conn: conn, Timeout: 20 * time.Second, Ops: o})
}

// block makes a block of messages of rows records each, which start one step
// after the other.
func block(t *testing.T, messages, rows int, step time.Duration) *consume.Block {
	t.Helper()
	e, r := flow.NewEncoder(), flow.NewReader()
	start := time.Date(2026, 3, 2, 12, 0, 0, 1, time.UTC)
	b := &consume.Block{Topic: "flows", Partition: 3, From: 10, To: 10 + int64(messages)}
	for i := range messages {
		for j := range rows {
			n := uint64(i*rows + j)
			at := start.Add(time.Duration(n) * step).UnixNano()
			e.Add(&flow.Record{SrcIP: flow.Addr{15: byte(n)}, SrcPort: uint16(n), Start: at, End: at + int64(n)*1001, FlowID: n + 1,
				SrcPackets: n, DstBytes: n * n, TLSSNI: fmt.Sprint("host", n), App: "tls", Cut: flow.Cut(n % 4), HTTPRequests: []string{"GET x"}, HTTPStatuses: []uint16{200}})
		}
		value, err := e.Seal(&flowpb.FlowBatch{Probe: "p", Epoch: 7, Seq: uint64(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := r.Read(value)
		if err != nil {
			t.Fatal(err)
		}
		b.Messages = append(b.Messages, consume.Message{Offset: b.From + int64(i), Time: time.Now(), Sum: uint64(i), Batch: batch})
	}
	return b
}

func put(t *testing.T, s *Store, b *consume.Block) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := s.Put(ctx, b); err != nil {
		t.Fatal(err)
	}
}

// One insert is one part, however large; more than one day is one each.
func TestOneInsertIsOnePart(t *testing.T) {
	s, conn := database(t)
	localtest.Exec(t, conn, "SYSTEM STOP MERGES flows")
	put(t, s, block(t, 6, 20_000, 100*time.Microsecond))
	localtest.Expect(t, conn, "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active", 1)
	localtest.Expect(t, conn, "SELECT max(rows) FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active", 120_000)
	b := block(t, 4, 100, 20*time.Minute)
	b.From, b.To = 150, 154
	for i := range b.Messages {
		b.Messages[i].Offset += 140
		b.Messages[i].Batch.Header().Epoch = 8
	}
	put(t, s, b)
	localtest.Expect(t, conn, "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active", 1+7)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 120_400)
}

// What is stored is what was sent, in every column.
func TestValues(t *testing.T) {
	s, conn := database(t)
	b := block(t, 2, 50, 7*time.Minute)
	put(t, s, b)
	rows, err := conn.Query(t.Context(), "SELECT seq, row, start, end, src_ip, tls_sni, cut, http_requests, http_statuses, dst_bytes, community_hash, probe, kafka_partition, kafka_offset FROM flows ORDER BY seq, row")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	var rec flow.Record
	for ; rows.Next(); n++ {
		var (
			seq, dstBytes, hash uint64
			row, cut            uint32
			start, end          time.Time
			ip                  [16]byte
			sni, probe          string
			requests            []string
			statuses            []uint16
			partition           int32
			offset              int64
		)
		if err := rows.Scan(&seq, &row, &start, &end, &ip, &sni, &cut, &requests, &statuses, &dstBytes, &hash, &probe, &partition, &offset); err != nil {
			t.Fatal(err)
		}
		m := b.Messages[seq-1]
		m.Batch.Record(int(row), &rec)
		if start.UnixNano() != rec.Start || end.UnixNano() != rec.End || ip != rec.SrcIP || sni != rec.TLSSNI || cut != uint32(rec.Cut) ||
			len(requests) != 1 || requests[0] != rec.HTTPRequests[0] || len(statuses) != 1 || statuses[0] != 200 || dstBytes != rec.DstBytes ||
			hash != flow.CommunityHash(rec.SrcIP, rec.DstIP, rec.SrcPort, rec.DstPort, rec.Protocol) || probe != "p" || partition != 3 || offset != m.Offset {
			t.Fatalf("row %d of seq %d differs: start %v end %v ip %v sni %q cut %d bytes %d", row, seq, start, end, ip, sni, cut, dstBytes)
		}
	}
	if err := rows.Err(); err != nil || n != 100 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// Putting a block again, by the same or another process, at any time, changes nothing.
func TestPutAgain(t *testing.T) {
	s, conn := database(t)
	b := block(t, 3, 100, 10*time.Minute)
	put(t, s, b)
	b.Repeated = true
	put(t, s, b)
	put(t, open(t, conn), b)
	localtest.Exec(t, conn, "TRUNCATE TABLE batches") // as if it had died before they were written
	put(t, open(t, conn), b)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 300)
	localtest.Expect(t, conn, "SELECT count() FROM batches FINAL WHERE status = 'stored'", 3)
	localtest.Expect(t, conn, "SELECT sum(rows) FROM batches FINAL", 300)
}

// A token that ClickHouse knows, without the rows: what a crash between the
// record of the token and the rename of the part leaves behind. A lightweight
// delete leaves just that.
func TestPoisonedToken(t *testing.T) {
	for _, poisoned := range []int{1, 3} {
		t.Run(fmt.Sprint(poisoned), func(t *testing.T) {
			s, conn := database(t)
			b := block(t, 2, 100, 15*time.Minute) // three days
			perToken := 0
			for n := range poisoned {
				messages := []message{{Message: &b.Messages[0], status: stored, days: splitDays(b.Messages[0].Batch)},
					{Message: &b.Messages[1], status: stored, days: splitDays(b.Messages[1].Batch)}}
				perToken = len(days(messages))
				for _, day := range days(messages) {
					token := fmt.Sprintf("%s/%d", b.Token(), dateOf(day))
					if n > 0 {
						token += fmt.Sprintf("#%d", n)
					}
					d := s.buildDay(b, day, messages)
					if o := s.insert(t.Context(), token, token, d); o.err != nil || o.dropped {
						t.Fatalf("insert: %+v", o)
					}
					s.releaseDay(d)
				}
			}
			localtest.Exec(t, conn, "DELETE FROM flows WHERE true")
			localtest.Expect(t, conn, "SELECT count() FROM flows", 0)

			// The plain retry, which this store must not be: success, and no rows.
			messages := []message{{Message: &b.Messages[0], status: stored, days: splitDays(b.Messages[0].Batch)}}
			first := days(messages)[0]
			d := s.buildDay(b, first, messages)
			o := s.insert(t.Context(), fmt.Sprintf("%s/%d", b.Token(), dateOf(first)), "plain", d)
			if o.err != nil || !o.dropped {
				t.Fatalf("a plain retry: %+v, want success and nothing inserted: the token is not poisoned", o)
			}
			localtest.Expect(t, conn, "SELECT count() FROM flows", 0)

			b.Repeated = true
			put(t, s, b)
			localtest.Expect(t, conn, "SELECT count() FROM flows", 200)
			put(t, open(t, conn), b) // and the next owner agrees
			localtest.Expect(t, conn, "SELECT count() FROM flows", 200)
			if got := counter(t, s, "tapwatch_collector_store_poisoned_tokens_total"); got != float64(poisoned*perToken) {
				t.Errorf("%v poisoned tokens counted, want %d", got, poisoned*perToken)
			}
		})
	}
}

func counter(t *testing.T, s *Store, name string) float64 {
	t.Helper()
	families, err := s.ops.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// Some rows there and some not is nothing that this store can bring about: it
// stops rather than guess. So it does when the rows are others.
func TestAlarm(t *testing.T) {
	t.Run("partial", func(t *testing.T) {
		s, conn := database(t)
		b := block(t, 2, 100, time.Second)
		put(t, s, b)
		localtest.Exec(t, conn, "TRUNCATE TABLE batches")
		localtest.Exec(t, conn, "DELETE FROM flows WHERE row = 17")
		b.Repeated = true
		if err := s.Put(t.Context(), b); !errors.Is(err, ErrPartial) {
			t.Errorf("got %v, want ErrPartial", err)
		}
		b.Suspect = true
		if err := s.Put(t.Context(), b); !errors.Is(err, ErrPartial) {
			t.Errorf("suspect: got %v, want ErrPartial", err)
		}
	})
	t.Run("altered", func(t *testing.T) {
		s, conn := database(t)
		b := block(t, 2, 100, time.Second)
		put(t, s, b)
		localtest.Exec(t, conn, "TRUNCATE TABLE batches")
		localtest.Exec(t, conn, "ALTER TABLE flows UPDATE dst_bytes = dst_bytes + 1 WHERE row = 17 SETTINGS mutations_sync = 2")
		b.Repeated = true
		if err := s.Put(t.Context(), b); !errors.Is(err, ErrAltered) {
			t.Errorf("got %v, want ErrAltered", err)
		}
	})
}

func TestTrouble(t *testing.T) {
	for _, tt := range []struct {
		err    error
		reason string
		hint   bool
	}{
		{&clickhouse.Exception{Code: 243}, "disk_full", true},
		{fmt.Errorf("insert: %w", &clickhouse.Exception{Code: 241}), "memory", true},
		{&clickhouse.Exception{Code: 252}, "too_many_parts", true},
		{&clickhouse.Exception{Code: 242}, "read_only", true},
		{&clickhouse.Exception{Code: 60}, "schema", true},
		{&clickhouse.Exception{Code: 777}, "code_777", false},
		{context.DeadlineExceeded, "timeout", true},
		{errors.New("connection reset"), "network", true},
	} {
		if got := troubleOf(tt.err); got.reason != tt.reason || (got.hint != "") != tt.hint {
			t.Errorf("%v: got %+v, want reason %s", tt.err, got, tt.reason)
		}
	}
}

// FuzzPrepare: whatever decodes can be sorted by days, counted and turned into
// columns.
func FuzzPrepare(f *testing.F) {
	e := flow.NewEncoder()
	e.Add(&flow.Record{Start: 1, End: 5e18, DNSNames: []string{"a", "b"}, DNSQTypes: []uint16{1, 28}})
	e.Add(&flow.Record{Start: int64(5 * 24 * time.Hour), End: 5e18, TLSSNI: "x"})
	value, err := e.Seal(&flowpb.FlowBatch{Probe: "p", Epoch: 1, Seq: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte{})
	r := flow.NewReader()
	f.Fuzz(func(t *testing.T, value []byte) {
		b, err := r.Read(value)
		if err != nil {
			return
		}
		n := 0
		for _, d := range splitDays(b) {
			n += len(d.rows)
			for _, row := range d.rows {
				if dateOf(b.Start(row)/int64(24*time.Hour)) != dateOf(d.day) {
					t.Fatalf("row %d is not of day %d", row, d.day)
				}
			}
			k := flow.NewBlock()
			k.Add(b, d.rows)
			seq, numbers := make([]uint64, len(d.rows)), make([]uint32, len(d.rows))
			contentSums(k, seq, numbers)
			for i := range flow.ColumnNames() {
				plain(k.Values(i), flow.ColumnType(i))
			}
		}
		_, rows := tally(b, int64(time.Minute))
		for _, c := range rows {
			n -= int(c)
		}
		if n != 0 {
			t.Errorf("days and minutes differ by %d rows", n)
		}
	})
}

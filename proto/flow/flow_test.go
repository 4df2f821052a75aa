package flow

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// fill sets every field of r to something that is not zero.
func fill(r *Record, rng *rand.Rand) {
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(rng.IntN(2) == 0)
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			f.SetUint(rng.Uint64() >> (64 - f.Type().Bits()))
		case reflect.String:
			f.SetString(strings.Repeat("x", rng.IntN(5)) + string(rune('a'+rng.IntN(26))))
		case reflect.Float32:
			f.SetFloat(float64(rng.Float32()))
		case reflect.Array:
			for j := range f.Len() {
				f.Index(j).SetUint(uint64(rng.IntN(256)))
			}
		case reflect.Slice:
			for range rng.IntN(4) {
				e := reflect.New(f.Type().Elem()).Elem()
				switch e.Kind() {
				case reflect.String:
					e.SetString(string(rune('A' + rng.IntN(26))))
				case reflect.Int32:
					e.SetInt(int64(rng.Int32()) - 1<<30)
				default:
					e.SetUint(uint64(rng.IntN(1 << 16)))
				}
				f.Set(reflect.Append(f, e))
			}
		}
	}
	r.SrcMAC, r.DstMAC = r.SrcMAC>>16, r.DstMAC>>16
	r.Start = 1_700_000_000_000_000_000 + rng.Int64N(int64(6*24*time.Hour))
	r.End = r.Start + rng.Int64N(int64(time.Hour))
}

func header(seq uint64) *flowpb.FlowBatch {
	return &flowpb.FlowBatch{Probe: "p1", Site: "s", Epoch: 7, Worker: 3, Seq: seq, ClockNs: 5, WatermarkNs: 4, SealedNs: 6,
		Ledger: []*flowpb.LedgerSecond{{Second: 9, SeenPackets: 3, Losses: []*flowpb.Loss{{Reason: LossNonIP, Packets: 1}}}}}
}

func roundTrip(t *testing.T, records []Record) *Batch {
	t.Helper()
	e := NewEncoder()
	for i := range records {
		e.Add(&records[i])
	}
	message, err := e.Seal(header(1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewReader().Read(message)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func equalRecords(a, b *Record) bool {
	norm := func(r Record) Record {
		v := reflect.ValueOf(&r).Elem()
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Slice && f.Len() == 0 {
				f.SetZero()
			}
		}
		return r
	}
	return reflect.DeepEqual(norm(*a), norm(*b))
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tests := map[string]func(r *Record, i int){
		"full":   func(r *Record, _ int) { fill(r, rng) },
		"micros": func(r *Record, _ int) { fill(r, rng); r.Start -= r.Start % 1000; r.End -= r.End % 1000 },
		"empty":  func(r *Record, _ int) {},
		"sparse": func(r *Record, i int) {
			if i%7 == 3 {
				fill(r, rng)
			}
		},
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			records := [100]Record{}
			for i := range records {
				make(&records[i], i)
				if name == "sparse" {
					records[i].Start = 1_700_000_000_000_000_000 + int64(i)
					records[i].End = records[i].Start
				}
			}
			b := roundTrip(t, records[:])
			if b.Len() != len(records) || b.Header().Probe != "p1" || b.Header().Ledger[0].Losses[0].Packets != 1 {
				t.Fatalf("got %d records, header %v", b.Len(), b.Header().Probe)
			}
			var got Record
			for i := range records {
				b.Record(i, &got)
				if !equalRecords(&got, &records[i]) {
					t.Fatalf("record %d (-got +want)\n-%+v\n+%+v", i, got, records[i])
				}
			}
		})
	}
}

// A field of Record that no column carries would be lost without a word.
func TestEveryFieldHasAColumn(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var full Record
	for {
		fill(&full, rng)
		v, zero := reflect.ValueOf(full), false
		for i := range v.NumField() {
			zero = zero || v.Field(i).IsZero() || v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0
		}
		if !zero {
			break
		}
	}
	b := roundTrip(t, []Record{full})
	var got Record
	b.Record(0, &got)
	if !equalRecords(&got, &full) {
		t.Fatalf("(-got +want)\n-%+v\n+%+v", got, full)
	}
}

// Each column's name is that of its protobuf field.
func TestColumnsAreNamedAsInProto(t *testing.T) {
	fields := new(flowpb.FlowBatch).ProtoReflect().Descriptor().Fields()
	var names []string
	for i := range fields.Len() {
		if f := fields.Get(i); f.Number() >= 100 && !strings.HasSuffix(string(f.Name()), "_n") {
			names = append(names, string(f.Name()))
			if f.Cardinality() != protoreflect.Repeated {
				t.Errorf("%s is not a column", f.Name())
			}
		}
	}
	want := slices.Clone(ColumnNames())
	for i, n := range want {
		if n == "end" {
			want[i] = "duration"
		}
	}
	want = slices.DeleteFunc(want, func(n string) bool { return n == "community_hash" }) // it is not sent
	if !slices.Equal(names, want) {
		t.Errorf("(-proto +columns)\n-%q\n+%q", names, want)
	}
}

func TestBlockHasEveryRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	records := make([]Record, 50)
	for i := range records {
		fill(&records[i], rng)
	}
	b := roundTrip(t, records)
	k := NewBlock()
	k.Add(b, []int{3, 4, 49})
	k.Add(b, []int{0})
	if k.Rows() != 4 {
		t.Fatalf("%d rows", k.Rows())
	}
	for i, name := range ColumnNames() {
		v := reflect.ValueOf(k.Values(i))
		if e := v.Type().Elem(); e.PkgPath() != "" {
			t.Errorf("column %s is a slice of %s, which clickhouse-go does not know", name, e)
		}
		if n := v.Len(); n != 4 {
			t.Errorf("column %s has %d values", name, n)
		}
	}
	if got := k.Values(slices.Index(ColumnNames(), "src_ip")).([][16]byte)[2]; got != records[49].SrcIP {
		t.Errorf("src_ip of row 49: %v", got)
	}
	if got := k.Values(slices.Index(ColumnNames(), "end")).([]int64)[3]; got != records[0].End {
		t.Errorf("end of row 0: %v", got)
	}
	k.Reset()
	if k.Rows() != 0 || len(k.Values(0).([]string)) != 0 {
		t.Error("not empty after Reset")
	}
}

func TestFits(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	e := NewEncoder()
	var r Record
	n := 0
	for {
		fill(&r, rng)
		r.TLSSNI = strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(MaxString))
		if !e.Fits(&r) {
			break
		}
		e.Add(&r)
		n++
	}
	message, err := e.Seal(header(1))
	if err != nil || len(message) > MaxMessageBytes || n < 100 {
		t.Fatalf("%d records, %d bytes, %v", n, len(message), err)
	}
	e.Add(&r)
	far := r
	far.Start += int64(MaxBatchSpan) + 1
	if e.Fits(&far) {
		t.Error("a batch may span more than MaxBatchSpan")
	}
}

func TestReadRefuses(t *testing.T) {
	valid := func() *flowpb.FlowBatch {
		h := header(1)
		h.SchemaVersion = 1
		h.Count = 2
		h.Strings = []string{"", "a"}
		h.Addresses = make([]byte, 32)
		h.SrcPort = []uint32{1, 2}
		return h
	}
	tests := map[string]struct {
		change func(*flowpb.FlowBatch)
		want   error
	}{
		"newer":             {func(p *flowpb.FlowBatch) { p.SchemaVersion = 2 }, ErrNewerVersion},
		"no probe":          {func(p *flowpb.FlowBatch) { p.Probe = "" }, ErrInvalid},
		"no epoch":          {func(p *flowpb.FlowBatch) { p.Epoch = 0 }, ErrInvalid},
		"short column":      {func(p *flowpb.FlowBatch) { p.SrcPort = p.SrcPort[:1] }, ErrInvalid},
		"port":              {func(p *flowpb.FlowBatch) { p.SrcPort[1] = 70000 }, ErrInvalid},
		"string index":      {func(p *flowpb.FlowBatch) { p.TlsSni = []uint32{0, 2} }, ErrInvalid},
		"address index":     {func(p *flowpb.FlowBatch) { p.SrcIp = []uint32{0, 2} }, ErrInvalid},
		"address octets":    {func(p *flowpb.FlowBatch) { p.Addresses = p.Addresses[:17] }, ErrInvalid},
		"list too long":     {func(p *flowpb.FlowBatch) { p.DnsNamesN = []uint32{1, 1}; p.DnsNames = []uint32{0} }, ErrInvalid},
		"list too short":    {func(p *flowpb.FlowBatch) { p.DnsNames = []uint32{0} }, ErrInvalid},
		"list count":        {func(p *flowpb.FlowBatch) { p.DnsNamesN = []uint32{1 << 31, 1 << 31} }, ErrInvalid},
		"time before":       {func(p *flowpb.FlowBatch) { p.Start = []int64{-1, 0} }, ErrInvalid},
		"time far":          {func(p *flowpb.FlowBatch) { p.Start = []int64{1 << 62, 1 << 62}; p.TimeUnitNs = 1000 }, ErrInvalid},
		"duration":          {func(p *flowpb.FlowBatch) { p.Duration = []uint64{1 << 63, 0} }, ErrInvalid},
		"unit":              {func(p *flowpb.FlowBatch) { p.TimeUnitNs = 7 }, ErrInvalid},
		"span":              {func(p *flowpb.FlowBatch) { p.Start = []int64{0, int64(MaxBatchSpan) + 1} }, ErrTime},
		"records":           {func(p *flowpb.FlowBatch) { p.Count = MaxRecords + 1 }, ErrOversized},
		"count, no columns": {func(p *flowpb.FlowBatch) { p.Count = 3 }, ErrInvalid},
		"ledger":            {func(p *flowpb.FlowBatch) { p.Ledger[0].Second = -1 }, ErrInvalid},
		"clock":             {func(p *flowpb.FlowBatch) { p.ClockNs = -1 }, ErrInvalid},
	}
	reader := NewReader()
	if _, err := reader.Read(seal(t, valid())); err != nil {
		t.Fatalf("the valid one: %v", err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := valid()
			tt.change(p)
			if _, err := reader.Read(seal(t, p)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	for name, message := range map[string][]byte{"empty": {}, "text": []byte("hello"), "zstd of text": zstdOf(t, []byte("hello hello"))} {
		if b, err := reader.Read(message); err == nil {
			t.Errorf("%s: accepted as %v", name, b.Header())
		}
	}
	bomb := zstdOf(t, make([]byte, 2*MaxRawBytes))
	if _, err := reader.Read(bomb); !errors.Is(err, ErrOversized) {
		t.Errorf("bomb of %d bytes: %v", len(bomb), err)
	}
}

func TestText(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	var r Record
	fill(&r, rng)
	r.EtherType = 0 // what is not IP has no Community ID
	r.HTTPUserAgent = "=cmd|' /C calc'!A0"
	r.TLSSNI = "a\",\xff\n"
	var m map[string]any
	if err := json.Unmarshal(r.AppendJSON(nil), &m); err != nil {
		t.Fatal(err)
	}
	if len(m) != len(columns) || m["tls_sni"] != "a\",\uFFFD\n" || m["src_packets"] == nil || !strings.HasPrefix(m["community_id"].(string), "1:") {
		t.Errorf("%v", m)
	}
	line := string(r.AppendCSV(nil))
	if !strings.Contains(line, `'=cmd|`) || !strings.Contains(line, "\"a\"\",\uFFFD\n\"") {
		t.Errorf("%s", line)
	}
}

func FuzzRead(f *testing.F) {
	rng := rand.New(rand.NewPCG(11, 12))
	e := NewEncoder()
	for range 3 {
		var r Record
		fill(&r, rng)
		e.Add(&r)
	}
	h := header(1)
	message, err := e.Seal(h)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := NewReader().zstd.DecodeAll(message, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := NewReader().Read(zstdOf(t, raw))
		if err != nil {
			return
		}
		var r Record
		rows := make([]int, b.Len())
		for i := range rows {
			rows[i] = i
			b.Record(i, &r)
		}
		NewBlock().Add(b, rows)
		r.AppendJSON(nil)
		r.AppendCSV(nil)
	})
}

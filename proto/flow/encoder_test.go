package flow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// checkSealed compares what the encoder makes of records with what
// proto.Marshal makes of it, octet for octet, and with the records.
func checkSealed(t *testing.T, e *Encoder, reader *Reader, records []Record) {
	t.Helper()
	for i := range records {
		e.Add(&records[i])
	}
	size := e.size
	message, err := e.Seal(header(1))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := reader.zstd.DecodeAll(message, nil)
	if err != nil {
		t.Fatal(err)
	}
	sent := new(flowpb.FlowBatch)
	if err := proto.Unmarshal(raw, sent); err != nil {
		t.Fatal(err)
	}
	if len(sent.ProtoReflect().GetUnknown()) > 0 {
		t.Error("fields that flow.proto does not have")
	}
	if want, err := proto.Marshal(sent); err != nil || !bytes.Equal(raw, want) {
		t.Errorf("%d octets differ from the %d of proto.Marshal, %v", len(raw), len(want), err)
	}
	if len(raw) > size+1000 {
		t.Errorf("%d octets, thought to be at most %d and a header", len(raw), size)
	}
	b, err := reader.Read(message)
	if err != nil {
		t.Fatal(err)
	}
	if b.Len() != len(records) {
		t.Fatalf("%d records of %d", b.Len(), len(records))
	}
	var got Record
	for i := range records {
		makeValid(&records[i])
		b.Record(i, &got)
		if !equalRecords(&got, &records[i]) {
			t.Fatalf("record %d (-got +want)\n-%+v\n+%+v", i, got, records[i])
		}
	}
}

// makeValid changes the strings of r as a batch does.
func makeValid(r *Record) {
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i).Addr().Interface().(type) {
		case *string:
			*f = strings.ToValidUTF8(*f, "\uFFFD")
		case *[]string:
			for j, s := range *f {
				(*f)[j] = strings.ToValidUTF8(s, "\uFFFD")
			}
		}
	}
}

// An encoder that has sealed batches of one kind makes the next ones as a new
// one would.
func TestSealedAsProtoMarshal(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	tests := map[string]func(r *Record, i int){
		"full": func(r *Record, _ int) { fill(r, rng) },
		"sparse": func(r *Record, i int) {
			if i%9 == 4 {
				fill(r, rng)
			}
			r.Start = 1_700_000_000_000_000_000
			r.End = r.Start
		},
		"zero": func(*Record, int) {},
		"last only": func(r *Record, i int) {
			if i == 299 {
				fill(r, rng)
				r.Start, r.End = 0, 0
			}
		},
		"not UTF-8": func(r *Record, i int) {
			r.TLSSNI = strings.Repeat("\xffa", i%3)
			r.DNSNames = []string{"\xc3", "\xff", "\uFFFD"}
		},
		"microseconds": func(r *Record, i int) {
			r.Start = 1_700_000_000_000_000_000 - int64(i)*7000
			r.End = r.Start + int64(i%5)*1000
		},
		"nanoseconds": func(r *Record, i int) { r.Start = 1_700_000_000_000_000_000 - int64(i)*7; r.End = r.Start + int64(i%5) },
		"greatest": func(r *Record, _ int) {
			v := reflect.ValueOf(r).Elem()
			for i := range v.NumField() {
				switch f := v.Field(i); f.Kind() {
				case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
					f.SetUint(math.MaxUint64 >> (64 - f.Type().Bits()))
				case reflect.Float32:
					f.SetFloat(math.MaxFloat32)
				case reflect.Array:
					f.Index(rng.IntN(16)).SetUint(rng.Uint64() & 0xff)
				}
			}
			r.SrcMAC, r.DstMAC = 1<<48-1, 1<<48-1
			r.Start, r.End = maxTime-1, maxTime
		},
	}
	e, reader := NewEncoder(), NewReader()
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			records := make([]Record, 300)
			for i := range records {
				set(&records[i], i)
			}
			checkSealed(t, e, reader, records)
			checkSealed(t, e, reader, records[:1])
			checkSealed(t, e, reader, nil)
		})
	}
}

// The largest record that the limits allow takes no more than Fits allows for.
func TestGreatestRecord(t *testing.T) {
	var r Record
	n := 0
	text := func() string { // no two are the same
		n++
		return fmt.Sprintf("%0*d", MaxString, n)
	}
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(text())
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), MaxList, MaxList))
			for j := range MaxList {
				switch e := f.Index(j); e.Kind() {
				case reflect.String:
					e.SetString(text())
				case reflect.Int32:
					e.SetInt(math.MinInt32)
				default:
					e.SetUint(math.MaxUint64 >> (64 - e.Type().Bits()))
				}
			}
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			f.SetUint(math.MaxUint64 >> (64 - f.Type().Bits()))
		case reflect.Float32:
			f.SetFloat(math.MaxFloat32)
		case reflect.Array:
			f.Index(i % 16).SetUint(uint64(i))
		}
	}
	e := NewEncoder()
	e.Add(&Record{})
	before := e.size
	r.Start, r.End = maxTime-1, maxTime
	e.Add(&r)
	if took := e.size - before; took > e.greatest || took < e.greatest-e.greatest/8 {
		t.Errorf("took %d octets, allowed for %d", took, e.greatest)
	}
}

// A record whose strings the batch has costs no allocation.
func TestAddAllocatesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	records := make([]Record, 100)
	for i := range records {
		fill(&records[i], rng)
	}
	e := NewEncoder()
	add := func() {
		for i := range records {
			e.Add(&records[i])
		}
	}
	for range 20 {
		add()
	}
	if _, err := e.Seal(header(1)); err != nil {
		t.Fatal(err)
	}
	add()
	if n := testing.AllocsPerRun(10, add); n != 0 {
		t.Errorf("%v allocations for %d records", n, len(records))
	}
}

func TestDictionary(t *testing.T) {
	for name, hash := range map[string]func(maphash.Seed, string) uint64{
		"good hash": maphash.String,
		"few":       func(_ maphash.Seed, s string) uint64 { return uint64(len(s)) },
		"one":       func(maphash.Seed, string) uint64 { return math.MaxUint64 },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDictionary(hash)
			for round := range 2 {
				number := make(map[string]uint32)
				for i := range 2000 {
					s := strings.Repeat("x", 1+i%700%97) + string(rune('a'+i%7))
					got, h := d.number(s)
					if want := number[s]; got != want {
						t.Fatalf("round %d: %q is %d, want %d", round, s, got, want)
					}
					if got == 0 {
						number[s] = d.add(s, h)
					}
				}
				for s, want := range number {
					if got, _ := d.number(s); got != want || d.values[want] != s {
						t.Fatalf("round %d: %q is %d, want %d", round, s, got, want)
					}
				}
				d.reset()
			}
		})
	}
}

// source makes records of any octets: those of a field begin with one that says
// how many follow, 0 for its zero.
type source []byte

func (s *source) take() []byte {
	if len(*s) == 0 {
		return nil
	}
	n := min(int((*s)[0])%20, len(*s)-1)
	b := (*s)[1 : 1+n]
	*s = (*s)[1+n:]
	return b
}

func (s *source) number(bits int) uint64 {
	var b [8]byte
	copy(b[:], s.take())
	return binary.LittleEndian.Uint64(b[:]) & (1<<bits - 1)
}

func (s *source) set(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(s.number(1) != 0)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(s.number(v.Type().Bits()))
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(s.number(v.Type().Bits())))
	case reflect.Float32:
		v.SetFloat(float64(math.Float32frombits(uint32(s.number(30))))) // finite
	case reflect.String:
		v.SetString(string(s.take()))
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(append(s.take(), make([]byte, 16)...)))
	case reflect.Slice:
		for range s.number(2) {
			e := reflect.New(v.Type().Elem()).Elem()
			s.set(e)
			v.Set(reflect.Append(v, e))
		}
	}
}

func FuzzEncoder(f *testing.F) {
	rng := rand.New(rand.NewPCG(17, 18))
	for _, n := range []int{0, 100, 3000} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.IntN(256) & rng.IntN(256))
		}
		f.Add(b)
	}
	e, reader := NewEncoder(), NewReader()
	f.Fuzz(func(t *testing.T, b []byte) {
		var records []Record
		for s := source(b); len(s) > 0; {
			var r Record
			v := reflect.ValueOf(&r).Elem()
			for i := range v.NumField() {
				s.set(v.Field(i))
			}
			r.SrcMAC, r.DstMAC = r.SrcMAC>>16, r.DstMAC>>16
			r.Start = int64(uint64(r.Start) % uint64(6*24*time.Hour))
			r.End = r.Start + int64(uint64(r.End)%uint64(time.Hour))
			records = append(records, r)
		}
		checkSealed(t, e, reader, records)
	})
}

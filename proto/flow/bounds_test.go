package flow

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// most is what Read may allocate for any message, octets.
const most = 64 << 20

// small compresses as well as an attacker can.
func small(t testing.TB, raw []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(raw, nil)
}

// allocated is what a Read allocates, whether it is collected at once or not.
func allocated(read func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// repeat fills a message with what one field is, after a header that is right.
func repeat(t testing.TB, one []byte, octets int) []byte {
	t.Helper()
	h := header(1)
	h.SchemaVersion = 1
	raw, err := proto.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return append(raw, bytes.Repeat(one, octets/len(one))...)
}

func field(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

// Whatever a message of up to 1 MB says, reading it takes less than 64 MiB.
func TestReadIsBounded(t *testing.T) {
	const all = MaxRawBytes - 4096
	loss := field(fieldLosses, nil)
	ones := bytes.Repeat([]byte{1}, all)
	long := func(count, columns int, text string) []byte { // one text in all cells
		h := header(1)
		h.SchemaVersion, h.Count, h.Strings = 1, uint32(count), []string{"", text}
		cells := slices.Repeat([]uint32{1}, count)
		for _, c := range []*[]uint32{&h.TlsSni, &h.HttpHost, &h.HttpUri, &h.HttpUserAgent, &h.SshClient, &h.SshServer}[:columns] {
			*c = cells
		}
		raw, err := proto.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	tests := map[string]struct {
		raw  []byte
		want error
	}{
		"zeros":                    {make([]byte, all), ErrProtobuf},
		"empty strings":            {repeat(t, field(fieldStrings, nil), all), ErrOversized},
		"strings of one octet":     {repeat(t, field(fieldStrings, []byte("a")), all), ErrOversized},
		"a long string":            {repeat(t, field(fieldStrings, []byte(strings.Repeat("a", maxEntry+1))), all), ErrInvalid},
		"empty seconds":            {repeat(t, field(fieldLedger, nil), all), ErrOversized},
		"empty losses":             {repeat(t, field(fieldLedger, bytes.Repeat(loss, 1000)), all), ErrOversized},
		"a second of losses":       {repeat(t, field(fieldLedger, bytes.Repeat(loss, all/2-8)), all), ErrOversized},
		"empty drops":              {repeat(t, field(fieldDropped, nil), all), ErrOversized},
		"a column of words":        {repeat(t, field(112, ones), len(ones)+8), ErrInvalid}, // more than records
		"a column of longs":        {repeat(t, field(130, ones), len(ones)+8), ErrOversized},
		"a column of lists":        {repeat(t, field(191, ones[:all/2]), all/2+8), ErrInvalid},
		"a column in pieces":       {repeat(t, field(112, []byte{1}), all), ErrInvalid},
		"an unpacked column":       {repeat(t, protowire.AppendVarint(protowire.AppendTag(nil, 112, protowire.VarintType), 1), all), ErrInvalid},
		"unknown fields":           {repeat(t, field(9999, nil), all), nil},
		"an unknown field":         {repeat(t, field(9999, ones), len(ones)+8), nil},
		"unknown groups":           {repeat(t, append(protowire.AppendTag(nil, 9999, protowire.StartGroupType), protowire.AppendTag(nil, 9999, protowire.EndGroupType)...), all), nil},
		"nested groups":            {repeat(t, protowire.AppendTag(nil, 9999, protowire.StartGroupType), all), ErrProtobuf},
		"names of the probe":       {repeat(t, field(2, []byte("p")), all), nil},
		"addresses again":          {repeat(t, field(19, make([]byte, 16)), all), nil},
		"records without columns":  {func() []byte { h := header(1); h.SchemaVersion, h.Count = 1, MaxRecords; return must(proto.Marshal(h)) }(), nil},
		"records of another world": {func() []byte { h := header(1); h.SchemaVersion, h.Count = 1, 1<<32-1; return must(proto.Marshal(h)) }(), ErrOversized},
		"one text in all cells":    {long(MaxRecords, 6, strings.Repeat("x", MaxString)), ErrOversized},
		"text up to the bound":     {long(MaxRecords, 2, strings.Repeat("x", MaxString)), nil},
		"a later version":          {append(repeat(t, field(fieldStrings, nil), all), 1<<3, 2), ErrOversized}, // found before the version
		"a later version first":    {append([]byte{1 << 3, 2}, repeat(t, field(fieldStrings, nil), all)...), ErrNewerVersion},
	}
	reader := NewReader()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if len(tt.raw) > MaxRawBytes {
				t.Fatalf("%d octets are refused for their number", len(tt.raw))
			}
			message := small(t, tt.raw)
			if len(message) > 1_000_000 {
				t.Fatalf("message of %d octets", len(message))
			}
			var err error
			took := allocated(func() { _, err = reader.Read(message) })
			t.Logf("%d octets, %d raw: %d kB allocated, %v", len(message), len(tt.raw), took>>10, err)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("Read: %v, want %v", err, tt.want)
			}
			if took >= most {
				t.Errorf("%d MiB allocated for a message of %d octets", took>>20, len(message))
			}
		})
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// Frames that lie about their size and window, and frames within frames' limits.
func TestCompressionIsBounded(t *testing.T) {
	bomb := small(t, make([]byte, 128<<20))
	for name, message := range map[string][]byte{
		"bomb": bomb,
		// RFC 8878, section 3.1.1.1: a frame whose header promises 2^63 octets, a window of 3.75 TiB, and many frames.
		"content size": {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0},
		"window":       {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0},
		"frames":       bytes.Repeat(small(t, make([]byte, MaxRawBytes/2)), 200),
	} {
		reader := NewReader()
		var err error
		took := allocated(func() { _, err = reader.Read(message) })
		t.Logf("%s of %d octets: %d kB allocated, %v", name, len(message), took>>10, err)
		if err == nil || took >= most {
			t.Errorf("%s of %d octets: %d MiB allocated, %v", name, len(message), took>>20, err)
		}
	}
}

// The greatest batch of the encoder is far below the bounds.
func TestBoundsLeaveRoom(t *testing.T) {
	e, reader := NewEncoder(), NewReader()
	for name, change := range map[string]func(r *Record, rng *rand.Rand){
		"random": func(r *Record, rng *rand.Rand) { fill(r, rng) },
		// HTTP connections that ask for the same long things again and again.
		"texts": func(r *Record, rng *rand.Rand) {
			*r = Record{Start: 1, End: 2, HTTPURI: strings.Repeat("u", MaxString), HTTPUserAgent: strings.Repeat("a", MaxString), TLSSNI: strings.Repeat("\xff.", MaxString/2)}
			r.HTTPRequests = slices.Repeat([]string{strings.Repeat("q", MaxString)}, MaxList)
		},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		var r Record
		for change(&r, rng); e.Fits(&r); change(&r, rng) {
			e.Add(&r)
		}
		n := e.Len()
		message, err := e.Seal(header(1))
		if err != nil {
			t.Fatal(err)
		}
		b, err := reader.Read(message)
		if err != nil {
			t.Fatalf("%s: %d records: %v", name, n, err)
		}
		t.Logf("%s: %d records, %d octets, %d MiB of text", name, n, len(message), b.TextBytes()>>20)
	}
}

// A batch does not refer to the memory of the message before.
func TestBatchOwnsItsMemory(t *testing.T) {
	reader := NewReader()
	first := header(1)
	first.SchemaVersion, first.Count, first.Strings, first.TlsSni = 1, 1, []string{"", "first.example"}, []uint32{1}
	first.Addresses, first.SrcIp = append(make([]byte, 16), bytes.Repeat([]byte{7}, 16)...), []uint32{1}
	b, err := reader.Read(seal(t, first))
	if err != nil {
		t.Fatal(err)
	}
	second := proto.Clone(first).(*flowpb.FlowBatch)
	second.Strings, second.Addresses = []string{"", "other.example"}, append(make([]byte, 16), bytes.Repeat([]byte{9}, 16)...)
	if _, err := reader.Read(seal(t, second)); err != nil {
		t.Fatal(err)
	}
	var r Record
	if b.Record(0, &r); r.TLSSNI != "first.example" || r.SrcIP[0] != 7 {
		t.Errorf("record of the first batch after the second: %q, %v", r.TLSSNI, r.SrcIP)
	}
}

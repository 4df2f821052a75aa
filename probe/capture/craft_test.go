package capture

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"reflect"
	"testing"
)

// pcapFile builds a pcap file; records hold time parts, lengths and bytes.
type pcapFile struct {
	order binary.ByteOrder
	magic uint32
	link  uint32
	recs  []pcapRecord
}

type pcapRecord struct {
	sec, frac, wire uint32
	data            []byte
}

func (p pcapFile) bytes() []byte {
	var b bytes.Buffer
	put := func(v ...any) {
		for _, v := range v {
			binary.Write(&b, p.order, v)
		}
	}
	put(p.magic, uint16(2), uint16(4), uint32(0), uint32(0), uint32(65535), p.link)
	for _, r := range p.recs {
		put(r.sec, r.frac, uint32(len(r.data)), r.wire)
		if p.magic == magicModified {
			put(uint32(3), uint16(0x800), uint16(0))
		}
		b.Write(r.data)
	}
	return b.Bytes()
}

// ngFile builds pcapng blocks.
type ngFile struct {
	bytes.Buffer
	order binary.ByteOrder
}

func (g *ngFile) block(kind uint32, body ...any) *ngFile {
	var b bytes.Buffer
	for _, v := range body {
		if raw, ok := v.([]byte); ok {
			b.Write(raw)
			b.Write(make([]byte, -len(raw)&3))
			continue
		}
		binary.Write(&b, g.order, v)
	}
	size := uint32(b.Len() + 12)
	binary.Write(g, g.order, kind)
	binary.Write(g, g.order, size)
	g.Write(b.Bytes())
	binary.Write(g, g.order, size)
	return g
}

func (g *ngFile) section(order binary.ByteOrder) *ngFile {
	g.order = order
	return g.block(blockSection, uint32(byteOrderMagic), uint16(1), uint16(0), int64(-1))
}

// face adds an interface with options given as code, value.
func (g *ngFile) face(link uint16, snap uint32, options ...any) *ngFile {
	body := []any{link, uint16(0), snap}
	for i := 0; i < len(options); i += 2 {
		v := options[i+1]
		var raw bytes.Buffer
		switch v := v.(type) {
		case string:
			raw.WriteString(v)
		default:
			binary.Write(&raw, g.order, v)
		}
		body = append(body, uint16(options[i].(int)), uint16(raw.Len()), raw.Bytes())
	}
	return g.block(blockInterface, body...)
}

func (g *ngFile) enhanced(id uint32, ts uint64, wire uint32, data []byte) *ngFile {
	return g.block(blockEnhanced, id, uint32(ts>>32), uint32(ts), uint32(len(data)), wire, data)
}

// got is a frame as a test compares it.
type got struct {
	time int64
	data string
	wire uint32
	link uint16
	face string
}

// frames reads all of src.
func frames(t testing.TB, src Source) []got {
	t.Helper()
	var all []got
	var f Frame
	for {
		if err := src.Next(&f); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, got{f.Time, string(f.Data), f.Len, f.LinkType, src.Interfaces()[f.Interface]})
	}
}

// ways are those to read a file.
func ways() []FileOptions { return []FileOptions{{}, {Chunks: NewChunks(2)}} }

// bothWays reads b as a file that is there at once, and as a stream that comes byte by byte.
func bothWays(t *testing.T, b []byte, want []got) {
	t.Helper()
	for name, r := range map[string]io.Reader{"at once": nil, "streamed": &dribble{b: b}} {
		src, err := memorySource(b, r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if all := frames(t, src); !reflect.DeepEqual(all, want) {
			t.Errorf("%s (-got +want):\n-%+v\n+%+v", name, all, want)
		}
	}
}

// dribble gives one byte at a time.
type dribble struct{ b []byte }

func (d *dribble) Read(p []byte) (int, error) {
	if len(d.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:1], d.b)
	d.b = d.b[n:]
	return n, nil
}

func TestPcapVariants(t *testing.T) {
	recs := []pcapRecord{{1700000000, 123456, 5, []byte("hello")}, {1600000000, 7, 1500, []byte("cut")}, {math.MaxUint32, 0, 0, nil}, {5, 5, 2, []byte("more than the wire")}}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for magic, unit := range map[uint32]int64{magicMicro: 1000, magicNano: 1, magicModified: 1000} {
			b := pcapFile{order, magic, 0x14000000 | 1, recs}.bytes() // with a frame check sequence length
			bothWays(t, b, []got{
				{1700000000e9 + 123456*unit, "hello", 5, 1, "memory"},
				{1600000000e9 + 7*unit, "cut", 1500, 1, "memory"},
				{math.MaxUint32 * 1e9, "", 0, 1, "memory"},
				{5e9 + 5*unit, "more than the wire", 2, 1, "memory"},
			})
		}
	}
	for file, want := range map[uint32]uint16{12: LinkRaw, 14: LinkRaw, 147: 147, 0xffff: 0xffff} {
		b := pcapFile{binary.LittleEndian, magicMicro, file, recs[:1]}.bytes()
		bothWays(t, b, []got{{1700000000e9 + 123456000, "hello", 5, want, "memory"}})
	}
}

func TestPcapngVariants(t *testing.T) {
	const us = 1700000000123456
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		other := binary.ByteOrder(binary.BigEndian)
		if order == other {
			other = binary.LittleEndian
		}
		g := new(ngFile)
		g.section(order).
			face(1, 0, optionName, "eth0").
			face(101, 4, optionTsResol, byte(9)).
			face(113, 0, optionName, "cooked", optionTsResol, byte(0x80|10), optionTsOffset, int64(1000)).
			enhanced(0, us, 5, []byte("hello")).
			block(0x0bad, []byte("unknown")).
			enhanced(1, us*1000+7, 1500, []byte("nanos")).
			enhanced(2, 3<<10|512, 3, []byte("abc")).
			block(blockSimple, uint32(4), []byte("same")).
			block(blockPacket, uint16(0), uint16(11), uint32(us>>32), uint32(us&math.MaxUint32), uint32(3), uint32(9), []byte("old")).
			block(blockPacket, uint16(0), uint16(0xffff), uint32(0), uint32(1), uint32(0), uint32(0)).
			block(blockStatistics, uint32(0), uint32(0), uint32(0), uint16(optionIfDrop), uint16(8), uint64(100), uint16(optionOsDrop), uint16(8), uint64(1)).
			block(blockStatistics, uint32(0), uint32(0), uint32(0), uint16(optionIfDrop), uint16(8), uint64(200), uint16(optionOsDrop), uint16(8), uint64(2)).
			section(other).
			face(228, 3, optionName, "eth0").
			block(blockSimple, uint32(8), []byte("cut")).
			enhanced(0, 1, 1, []byte("z"))
		want := []got{
			{us * 1000, "hello", 5, 1, "eth0"},
			{us*1000 + 7, "nanos", 1500, 101, "if1"},
			{1003.5e9, "abc", 3, 113, "cooked"},
			{1003.5e9, "same", 4, 1, "eth0"},
			{us * 1000, "old", 9, 1, "eth0"},
			{1000, "", 0, 1, "eth0"},
			{1000, "cut", 8, 228, "eth0"},
			{1000, "z", 1, 228, "eth0"},
		}
		bothWays(t, g.Bytes(), want)
		src, err := memorySource(g.Bytes(), nil)
		if err != nil {
			t.Fatal(err)
		}
		frames(t, src)
		if names := src.Interfaces(); !reflect.DeepEqual(names, []string{"eth0", "if1", "cooked"}) {
			t.Errorf("interfaces %q", names)
		}
		if n := src.Stats().RecordedDropped; n != 11+202 {
			t.Errorf("declared drops %d (want 213)", n)
		}
	}
}

func TestTsClock(t *testing.T) {
	for _, c := range []struct {
		resol  byte
		offset int64
		ts     uint64
		want   int64
	}{
		{6, 0, 1, 1000},
		{0, 0, 5, 5e9},
		{9, 0, 5, 5},
		{12, 0, 5999, 5},
		{28, 0, 1e19, 1},
		{127, 0, math.MaxUint64, 0},
		{0x80, 0, 5, 5e9},
		{0x80 | 32, 0, 1<<32 | 1<<31, 1.5e9},
		{0x80 | 63, 0, 1 << 62, 5e8},
		{0x80 | 64, 0, 1 << 63, 5e8},
		{0x80 | 127, 0, math.MaxUint64, 0},
		{6, -1, 3e6, 2e9},
		{0, 0, math.MaxUint64, math.MaxInt64},
		{6, math.MaxInt64, 1, math.MaxInt64},
		{6, math.MinInt64, 0, math.MinInt64},
	} {
		clock := newTsClock(c.resol, c.offset)
		if v := clock.nanos(c.ts); v != c.want {
			t.Errorf("resolution %#x, offset %d: %d is %d (want %d)", c.resol, c.offset, c.ts, v, c.want)
		}
	}
}

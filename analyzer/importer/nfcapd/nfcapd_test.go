package nfcapd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// readBytes reads a file as the importer does: exporters first, then flows.
func readBytes(b []byte) (all []biflow.Half, skipped map[string]uint64, err error) {
	d := New()
	if err := d.Read(bytes.NewReader(b), nil); err != nil {
		return nil, nil, err
	}
	skipped = make(map[string]uint64)
	d.Skip = func(reason string, n uint64, _ int64, _ error) { skipped[reason] += n }
	err = d.Read(bytes.NewReader(b), func(h biflow.Half) error { all = append(all, h); return nil })
	return all, skipped, err
}

var order = binary.LittleEndian

// file2 is a file of layout 2 of one block.
func file2(records ...[]byte) []byte {
	b := append(order.AppendUint16(order.AppendUint16(nil, magic), 2), make([]byte, fileHeader2-4)...)
	return append(b, blockOf(blockRecords2, records)...)
}

// file1 is a file of layout 1 of one block.
func file1(records ...[]byte) []byte {
	b := append(order.AppendUint16(order.AppendUint16(nil, magic), 1), make([]byte, fileHeader1-4)...)
	return append(b, blockOf(blockRecords1, records)...)
}

func blockOf(kind uint16, records [][]byte) []byte {
	content := bytes.Join(records, nil)
	b := order.AppendUint32(order.AppendUint32(nil, uint32(len(records))), uint32(len(content)))
	return append(order.AppendUint16(order.AppendUint16(b, kind), 0), content...)
}

// tlv is a record, or an element: type, size with these four octets, content.
func tlv(kind uint16, content ...[]byte) []byte {
	b := bytes.Join(content, nil)
	return append(order.AppendUint16(order.AppendUint16(nil, kind), uint16(len(b)+4)), b...)
}

// head is the header of a flow record of layout 2 behind its type and size.
func head(exporter uint16, flags, version uint8) []byte {
	return append(order.AppendUint16(make([]byte, 4, 8), exporter), flags, version)
}

// flow2 is the element of times and counters: ms, packets and octets.
func flow2(first, last, packets, octets uint64, srcPort, dstPort uint16, proto, flags uint8) []byte {
	var b []byte
	for _, n := range []uint64{first, last, 0, packets, octets} {
		b = order.AppendUint64(b, n)
	}
	return tlv(elementFlow, append(order.AppendUint16(order.AppendUint16(b, srcPort), dstPort), proto, flags, 0, 0x28))
}

var (
	hosts = tlv(elementIPv4, []byte{1, 0, 0, 10, 2, 0, 0, 10}) // 10.0.0.1 to 10.0.0.2
	out   = tlv(elementOut, u64(1), u64(3), u64(300))
)

func u64(n uint64) []byte { return order.AppendUint64(nil, n) }

// addr is an IPv4 address.
func addr(a, b, c, d byte) flow.Addr {
	return flow.Addr{10: 0xff, 11: 0xff, 12: a, 13: b, 14: c, 15: d}
}

// What recorded files of softflowd do not have: events, VLANs, the other direction, reasons of the end.
func TestElements(t *testing.T) {
	base := biflow.Half{Key: biflow.Key{Origin: Origin, Src: addr(10, 0, 0, 1), Dst: addr(10, 0, 0, 2), SrcPort: 4000, DstPort: 80, Protocol: 6},
		Start: 5e12, End: 6e12, Packets: 2, Bytes: 200, Flags: 0x1b, DSCP: 10}
	flowElement := flow2(5e6, 6e6, 2, 200, 4000, 80, 6, 0x1b)
	misc := tlv(elementMisc, []byte{7, 0, 0, 0, 8, 0, 0, 0, 24, 24, 1, 0, 2, 3, 0x12, 0})
	for name, c := range map[string]struct {
		record []byte
		want   func(h *biflow.Half)
	}{
		"plain":             {tlv(recordFlow, head(0, 0, 9), flowElement, hosts), func(*biflow.Half) {}},
		"element not known": {tlv(recordFlow, head(0, 0, 9), tlv(999, make([]byte, 7)), flowElement, hosts), func(*biflow.Half) {}},
		"both directions":   {tlv(recordFlow, head(0, 0, 10), flowElement, hosts, out), func(h *biflow.Half) { h.RevPackets, h.RevBytes = 3, 300 }},
		"event of a firewall": {tlv(recordFlow, head(0, flagEvent2, 9), flowElement, hosts, out),
			func(h *biflow.Half) { h.RevPackets, h.RevBytes, h.BeginKnown = 3, 300, true }},
		"time of the event": {tlv(recordFlow, head(0, flagEvent2, 9), flow2(0, 0, 2, 200, 4000, 80, 6, 0x1b), tlv(elementFirewall, u64(5e6), u64(0)), hosts),
			func(h *biflow.Half) { h.End, h.BeginKnown = 5e12, true }},
		"interface, direction, end, flags back": {tlv(recordFlow, head(0, 0, 9), flowElement, hosts, misc, out), func(h *biflow.Half) {
			h.Interface, h.Direction, h.BeginKnown, h.Reversed, h.EndReason, h.RevFlags = "if7", biflow.Egress, true, true, flow.EndDetected, 0x12
			h.RevPackets, h.RevBytes = 3, 300
		}},
		"dst began, of which nothing is told": {tlv(recordFlow, head(0, 0, 9), flowElement, hosts, misc), func(h *biflow.Half) {
			h.Interface, h.Direction, h.EndReason, h.RevFlags = "if7", biflow.Egress, flow.EndDetected, 0x12
		}},
		"VLAN":              {tlv(recordFlow, head(0, 0, 9), flowElement, hosts, tlv(elementVLAN, []byte{5, 0, 0, 0, 6, 0, 0, 0})), func(h *biflow.Half) { h.VLAN = 5 }},
		"VLAN of nfpcapd":   {tlv(recordFlow, head(0, 0, 0x41), flowElement, hosts, tlv(elementVLAN, []byte{0, 0, 0, 0, 6, 0, 0, 0})), func(h *biflow.Half) { h.VLAN = 6 }},
		"VLAN of layer 2":   {tlv(recordFlow, head(0, 0, 10), flowElement, hosts, tlv(elementLayer2, make([]byte, 32)), tlv(elementLayer2, []byte{9, 0})), func(h *biflow.Half) { h.VLAN = 9 }},
		"TTL":               {tlv(recordFlow, head(0, 0, 10), flowElement, hosts, tlv(elementIPInfo, []byte{0, 0, 63, 64})), func(h *biflow.Half) { h.TTL = 63 }},
		"MACs":              {tlv(recordFlow, head(0, 0, 9), flowElement, hosts, tlv(elementMAC, u64(1), u64(2), u64(3), u64(4))), func(h *biflow.Half) { h.SrcMAC, h.DstMAC = 1, 3 }},
		"MACs of a frame":   {tlv(recordFlow, head(0, 0, 0x85), flowElement, hosts, tlv(elementMAC, u64(1), u64(2), u64(0), u64(0))), func(h *biflow.Half) { h.SrcMAC, h.DstMAC = 1, 2 }},
		"received from":     {tlv(recordFlow, head(0, 0, 9), flowElement, hosts, tlv(elementReceived4, []byte{9, 0, 0, 10})), func(h *biflow.Half) { h.Exporter, h.Interface = addr(10, 0, 0, 9), "10.0.0.9/0" }},
		"times by rounding": {tlv(recordFlow, head(0, 0, 9), flow2(5e6, 5e6-1, 2, 200, 4000, 80, 6, 0x1b), hosts), func(h *biflow.Half) { h.End = h.Start }},
		"ICMP": {tlv(recordFlow, head(0, 0, 9), flow2(5e6, 6e6, 2, 200, 0, 0x0301, 1, 0), hosts), func(h *biflow.Half) {
			h.SrcPort, h.DstPort, h.Protocol, h.Flags, h.ICMPType, h.ICMPCode = 0, 0, 1, 0, 3, 1
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want := base
			c.want(&want)
			got, skipped, err := readBytes(file2(c.record))
			if err != nil || len(skipped) > 0 || len(got) != 1 {
				t.Fatalf("%d halves, skipped %v, %v", len(got), skipped, err)
			}
			if got[0] != want {
				t.Errorf("(-got +want)\n-%+v\n+%+v", got[0], want)
			}
		})
	}
}

// Exporters and samplers stand anywhere in a file; a sampler that is not known is the exporter's last.
func TestExporters(t *testing.T) {
	told := func(ip []byte, family uint16, id uint16) []byte {
		b := order.AppendUint16(order.AppendUint16(append([]byte{9, 0, 0, 0}, ip...), family), id)
		return tlv(recordExporter, order.AppendUint32(b, 77))
	}
	sampled := func(exporter uint16, id int64, taken, passed uint32) []byte {
		b := order.AppendUint64(order.AppendUint16(order.AppendUint16(nil, exporter), 0), uint64(id))
		return tlv(recordSampler, order.AppendUint32(order.AppendUint32(b, taken), passed))
	}
	record := func(exporter uint16, flags uint8, sampler []byte) []byte {
		return tlv(recordFlow, head(exporter, flags, 9), flow2(5e6, 6e6, 2, 200, 1, 2, 6, 0), hosts, sampler)
	}
	old4, old6, new4 := make([]byte, 16), make([]byte, 16), append(make([]byte, 10), 0xff, 0xff, 10, 0, 0, 9)
	copy(old4[8:], []byte{9, 0, 0, 10})
	copy(old6, []byte{0, 0, 0, 0, 0xb8, 0x0d, 1, 0x20, 5}) // 2001:db8::5
	got, skipped, err := readBytes(file2(
		record(1, 0, nil), record(2, flagSampled2, nil), record(2, flagSampled2, tlv(elementSampler, u64(4), u64(0))),
		record(3, flagSampled2, tlv(elementSampler, []byte{6, 0, 0, 0}, u64(0))), record(4, flagSampled2, nil),
		told(old4, 2, 1), told(old6, 10, 2), told(new4, 0, 3),
		sampled(2, 4, 1, 99), sampled(2, 5, 1, 999), sampled(1, 1, 1, 9),
		tlv(recordSampler0, order.AppendUint32(nil, 6), order.AppendUint32(nil, 50), []byte{0, 0, 3, 0})))
	if err != nil || len(got) != 5 || len(skipped) != 1 || skipped[source.SkipOptions] != 7 {
		t.Fatalf("%d halves, skipped %v, %v", len(got), skipped, err)
	}
	for i, want := range []struct {
		where    string
		domain   uint32
		sampling uint32
	}{{"10.0.0.9/0", 77, 0}, {"2001:db8::5/0", 77, 1000}, {"2001:db8::5/0", 77, 100}, {"10.0.0.9/0", 77, 50}, {"", 0, 0}} {
		if h := got[i]; h.Interface != want.where || h.Domain != want.domain || h.Sampling != want.sampling || h.Packets != 2 {
			t.Errorf("flow %d: %q, domain %d, 1 in %d, %d packets, want %+v", i, h.Interface, h.Domain, h.Sampling, h.Packets, want)
		}
	}
}

// The recorded exports that softflowd sampled say so.
func TestRecordedSampling(t *testing.T) {
	for file, want := range map[string]uint32{"wikipedia-1.7": 0, "wikipedia-1.7-sampled": 10, "wikipedia-1.6-sampled": 10} {
		all, _ := halves(t, file)
		for _, h := range all {
			if h.Sampling != want || h.Exporter != addr(127, 0, 0, 1) {
				t.Errorf("%s: 1 in %d of %s, want %d", file, h.Sampling, h.Exporter, want)
			}
		}
	}
}

// Layout 1 beyond what softflowd tells: the record of the first releases, 64 bits, extensions of all kinds.
func TestExtensions(t *testing.T) {
	extensions := func(id uint16, of ...uint16) []byte {
		b := order.AppendUint16(order.AppendUint16(nil, id), 0)
		for _, n := range append(of, 0) {
			b = order.AppendUint16(b, n)
		}
		return tlv(recordMap, b)
	}
	common := func(kind uint16, flags, exporter uint8, id uint16, content ...[]byte) []byte {
		b := order.AppendUint16([]byte{flags, exporter}, id)
		b = append(b, 1, 0, 2, 0, 0x88, 0x13, 0, 0, 0x89, 0x13, 0, 0, 0, 0x1b, 6, 0x28) // 5000.001 to 5001.002 s
		b = append(b, 0xa0, 0x0f, 80, 0)
		return tlv(kind, append([][]byte{b}, content...)...)
	}
	v4hosts, counters := []byte{1, 0, 0, 10, 2, 0, 0, 10}, []byte{2, 0, 0, 0, 200, 0, 0, 0}
	rest := []byte{1, 0, 1, 3} // exporter 1, src began, end detected
	base := biflow.Half{Key: biflow.Key{Origin: Origin, Src: addr(10, 0, 0, 1), Dst: addr(10, 0, 0, 2), SrcPort: 4000, DstPort: 80, Protocol: 6},
		Start: 5000001e6, End: 5001002e6, Packets: 2, Bytes: 200, Flags: 0x1b, DSCP: 10}
	for name, c := range map[string]struct {
		extensions, record []byte
		want               func(h *biflow.Half)
	}{
		"first releases": {extensions(7), common(recordCommon0, 0, 0, 7, v4hosts, counters), func(*biflow.Half) {}},
		"later":          {extensions(7), common(recordCommon, 0, 9, 7, rest, v4hosts, counters), func(h *biflow.Half) { h.BeginKnown, h.EndReason = true, flow.EndDetected }},
		"64 bits": {extensions(7), common(recordCommon0, flagPackets64|flagBytes64, 0, 7, v4hosts, u64(1<<40), u64(1<<50)),
			func(h *biflow.Half) { h.Packets, h.Bytes = 1<<40, 1<<50 }},
		"IPv6": {extensions(7), common(recordCommon0, flagIPv6, 0, 7, u64(0x20010db800000000), u64(1), u64(0x20010db800000000), u64(2), counters),
			func(h *biflow.Half) {
				h.Src, h.Dst = flow.Addr{0x20, 1, 0x0d, 0xb8, 15: 1}, flow.Addr{0x20, 1, 0x0d, 0xb8, 15: 2}
			}},
		"extensions": {extensions(7, extensionInterface2, extensionMisc, 9, extensionVLAN, extensionMAC1, extensionMAC2, extensionRouter4, 27),
			common(recordCommon0, 0, 0, 7, v4hosts, counters, []byte{3, 0, 4, 0}, []byte{0, 1, 24, 24}, make([]byte, 4), []byte{5, 0, 6, 0}, u64(1), u64(2), u64(3), u64(4), []byte{9, 0, 0, 10}, u64(9)),
			func(h *biflow.Half) {
				h.Exporter, h.Interface, h.Direction, h.VLAN, h.SrcMAC, h.DstMAC = addr(10, 0, 0, 9), "10.0.0.9/3", biflow.Egress, 5, 1, 3
			}},
		"event of a firewall": {extensions(7, extensionFirewall, extensionPackets4, extensionBytes8),
			common(recordCommon0, flagEvent1, 0, 7, v4hosts, counters, u64(5e6), []byte{0, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0}, []byte{3, 0, 0, 0}, u64(300)),
			func(h *biflow.Half) { h.RevPackets, h.RevBytes, h.BeginKnown = 3, 300, true }},
		"extension not known": {extensions(7, extensionInterface4, 30, extensionVLAN),
			common(recordCommon0, 0, 0, 7, v4hosts, counters, u64(3), make([]byte, 8)), func(h *biflow.Half) { h.Interface = "if3" }},
	} {
		t.Run(name, func(t *testing.T) {
			want := base
			c.want(&want)
			got, skipped, err := readBytes(file1(c.extensions, c.record))
			if err != nil || len(skipped) > 0 || len(got) != 1 {
				t.Fatalf("%d halves, skipped %v, %v", len(got), skipped, err)
			}
			if got[0] != want {
				t.Errorf("(-got +want)\n-%+v\n+%+v", got[0], want)
			}
		})
	}
}

// What is wrong is counted, and the rest is read.
func TestBadInput(t *testing.T) {
	good := tlv(recordFlow, head(0, 0, 9), flow2(5e6, 6e6, 2, 200, 1, 2, 6, 0), hosts)
	long := file2(good)
	order.PutUint32(long[fileHeader2+4:], maxBlock+1)
	missing := file2(good)
	order.PutUint32(missing[36:], 2)
	for name, c := range map[string]struct {
		file   []byte
		halves int
		reason string
	}{
		"nothing wrong":                {file2(good, good), 2, ""},
		"ends within a block":          {file2(good, good)[:len(file2(good, good))-1], 0, source.SkipDamaged},
		"ends within a block's header": {append(file2(good), 1, 2, 3), 1, source.SkipDamaged},
		"ends before its last block":   {missing, 1, source.SkipDamaged},
		"block too long":               {long, 0, source.SkipDamaged},
		"record too long":              {file2(good, []byte{recordFlow, 0, 200, 0}, good), 1, source.SkipMalformed},
		"record of no length":          {file2(good, []byte{recordFlow, 0, 0, 0}, good), 1, source.SkipMalformed},
		"record of one octet":          {file2(good, []byte{1}), 1, source.SkipMalformed},
		"record without header":        {file2(tlv(recordFlow), good), 1, source.SkipMalformed},
		"element too long":             {file2(tlv(recordFlow, head(0, 0, 9), []byte{1, 0, 200, 0}), good), 1, source.SkipMalformed},
		"element of no length":         {file2(tlv(recordFlow, head(0, 0, 9), []byte{1, 0, 0, 0}), good), 1, source.SkipMalformed},
		"element too short":            {file2(tlv(recordFlow, head(0, 0, 9), tlv(elementFlow, make([]byte, 47))), good), 1, source.SkipMalformed},
		"record not known":             {file2(tlv(99), good), 1, source.SkipUnknown},
		"statistics of exporters":      {file2(tlv(recordExporterStats), tlv(13), good), 1, source.SkipOptions},
		"sums of the file":             {file2(tlv(recordIdent), tlv(recordStat), good), 1, ""},
		"exporter too short":           {file2(tlv(recordExporter), good), 1, source.SkipMalformed},
		"no addresses":                 {file2(tlv(recordFlow, head(0, 0, 9), flow2(5e6, 6e6, 2, 200, 1, 2, 6, 0)), good), 1, source.SkipAddress},
		"no counters":                  {file2(tlv(recordFlow, head(0, flagEvent2, 9), flow2(5e6, 6e6, 0, 0, 1, 2, 6, 0), hosts), good), 1, source.SkipUnknown},
		"no times":                     {file2(tlv(recordFlow, head(0, 0, 9), hosts), good), 1, source.SkipTime},
		"times beyond all bounds":      {file2(tlv(recordFlow, head(0, 0, 9), flow2(5e6, 1<<63, 2, 200, 1, 2, 6, 0), hosts), good), 1, source.SkipTime},
		"common record of no map":      {file1(tlv(recordCommon0, make([]byte, 24+16)), tlv(recordCommon)), 0, source.SkipMalformed},
		"map too short, too long":      {file1(tlv(recordMap), tlv(recordMap, bytes.Repeat([]byte{1}, 500))), 0, source.SkipMalformed},
		"block of 1.5":                 {append(file1(), blockOf(1, nil)...), 0, source.SkipUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			got, skipped, err := readBytes(c.file)
			if err != nil || len(got) != c.halves {
				t.Errorf("%d halves, want %d, %v", len(got), c.halves, err)
			}
			if c.reason == "" && len(skipped) > 0 || c.reason != "" && (len(skipped) != 1 || skipped[c.reason] == 0) {
				t.Errorf("skipped %v, want %q", skipped, c.reason)
			}
		})
	}
}

// A packed block that is broken is counted, in every packing.
func TestBrokenPacking(t *testing.T) {
	for _, file := range []string{"wikipedia-1.7-lzo", "wikipedia-1.7-lz4", "wikipedia-1.7-bz2", "wikipedia-1.7-zstd", "wikipedia-1.6-lzo"} {
		b, err := os.ReadFile("../testdata/" + file + ".nfcapd")
		if err != nil {
			t.Fatal(err)
		}
		at := fileHeader2 + blockHeader
		if b[2] == 1 {
			at = fileHeader1 + blockHeader
		}
		copy(b[at:], bytes.Repeat([]byte{0xff}, 40))
		got, skipped, err := readBytes(b)
		if err != nil || len(got) > 0 || skipped[source.SkipDamaged] != 1 {
			t.Errorf("%s: %d halves, skipped %v, %v", file, len(got), skipped, err)
		}
	}
}

// A file that cannot be read at all says why, and what to do.
func TestRefused(t *testing.T) {
	changed := func(at int, to byte) []byte { b := file2(); b[at] = to; return b }
	for name, c := range map[string]struct {
		file   []byte
		format bool
	}{
		"empty":           {nil, true},
		"another kind":    {[]byte("#separator \\x09\n"), true},
		"header cut":      {file2()[:20], true},
		"big-endian":      {[]byte{0xa5, 0x0c, 0, 1}, false},
		"layout 3":        {changed(2, 3), false},
		"encrypted":       {changed(17, 1), false},
		"unknown packing": {changed(16, 5), false},
	} {
		_, _, err := readBytes(c.file)
		if err == nil || errors.Is(err, ErrFormat) != c.format || (kit.HintOf(err) != "") == c.format {
			t.Errorf("%s: error %v, hint %q", name, err, kit.HintOf(err))
		}
	}
}

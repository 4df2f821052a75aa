package sflow

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// datagram is one of version 5 with one flow sample: the header of an IPv4 packet.
func datagram(rate uint32, packet []byte) []byte {
	words := func(b []byte, w ...uint32) []byte {
		for _, v := range w {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	record := append(words(nil, 11, uint32(len(packet)+18), 4, uint32(len(packet))), packet...)
	sample := append(words(nil, 1, 2, rate, 0, 0, 1, 2, 1, 1, uint32(len(record))), record...)
	return append(words(nil, 5, 1, 0xc0000201, 0, 1, 1, 1, 1, uint32(len(sample))), sample...)
}

func tcp(src, dst byte, sport, dport uint16, flags byte, length uint16) []byte {
	b := make([]byte, 40)
	b[0], b[8], b[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(b[2:], length)
	copy(b[12:], []byte{10, 0, 0, src, 10, 0, 0, dst})
	binary.BigEndian.PutUint16(b[20:], sport)
	binary.BigEndian.PutUint16(b[22:], dport)
	b[32], b[33] = 0x50, flags
	return b
}

// Samples of both directions become one flow whose counters stand for all packets; the next minute is its next segment.
func TestSamplesAddUp(t *testing.T) {
	var got []flow.Record
	table := biflow.NewTable(func(r *flow.Record) error { got = append(got, r.Clone()); return nil })
	d := New()
	d.Skip = func(reason string, _ uint64, _ int64, cause error) { t.Errorf("%s: %v", reason, cause) }
	at := int64(1_700_000_000 * time.Second)
	send := func(after time.Duration, b []byte) {
		if err := d.Datagram(flow.Addr{}, at+int64(after), b, table.Add); err != nil {
			t.Fatal(err)
		}
	}
	send(0, datagram(100, tcp(1, 2, 40000, 443, 0x18, 1500)))
	send(time.Second, datagram(100, tcp(1, 2, 40000, 443, 0x18, 500)))
	send(2*time.Second, datagram(100, tcp(2, 1, 443, 40000, 0x10, 40)))
	send(61*time.Second, datagram(100, tcp(1, 2, 40000, 443, 0x18, 1000)))
	if err := d.Flush(table.Add); err != nil {
		t.Fatal(err)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Fatalf("%d records: %+v", len(got), got)
	}
	r := &got[0]
	if r.SrcPackets != 200 || r.SrcBytes != 200_000 || r.DstPackets != 100 || r.DstBytes != 4000 || r.SrcFrameBytes != (40+18)*200 || r.Sampling != 100 ||
		!r.InitiatorGuessed || r.Interface != "192.0.2.1/1" || r.SrcIP.String() != "10.0.0.1" || r.DstPort != 443 || r.Origin != Origin {
		t.Errorf("%+v", r)
	}
	if got[1].FlowID != r.FlowID || got[1].Segment != 1 || got[1].SrcPackets != 100 {
		t.Errorf("the next minute: flow %d, segment %d, %d packets", got[1].FlowID, got[1].Segment, got[1].SrcPackets)
	}
}

// A datagram that claims more records than it can hold is refused before anything is allocated for them.
func TestClaimsAreChecked(t *testing.T) {
	b := datagram(1, tcp(1, 2, 3, 4, 2, 40))
	const format, count = 28, 28 + 8 + 40
	binary.BigEndian.PutUint32(b[format:], 3)
	binary.BigEndian.PutUint32(b[count:], 1<<31)
	skipped := 0
	d := New()
	d.Skip = func(string, uint64, int64, error) { skipped++ }
	if err := d.Datagram(flow.Addr{}, 1, b, func(biflow.Half) error { return nil }); err != nil || skipped != 1 {
		t.Errorf("%d skipped, %v", skipped, err)
	}
}

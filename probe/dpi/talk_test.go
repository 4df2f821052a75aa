package dpi

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// talk plays one flow to an Inspector as a meter does.
type talk struct {
	t    testing.TB
	in   *Inspector
	st   *State
	rec  flow.Record
	cuts []flow.Record // segments handed on
	seq  [2]uint32
	p    decode.Packet
}

func newTalk(t testing.TB, proto uint8, port uint16) *talk {
	k := &talk{t: t, in: NewInspector(Config{})}
	k.rec.SrcPort, k.rec.DstPort = 40000, port
	k.p.Protocol = proto
	k.seq = [2]uint32{0xfffffff0, 1000} // one side wraps around
	return k
}

// send sends data in order from a side.
func (k *talk) send(d side, data string) {
	k.at(d, k.seq[d], data, len(data))
	k.seq[d] += uint32(len(data))
}

// at sends data at a sequence number; size is its length on the wire.
func (k *talk) at(d side, seq uint32, data string, size int) {
	k.p.Seq, k.p.Payload, k.p.PayloadLen = seq, []byte(data), uint32(size)
	k.p.Flags = decode.ACK
	k.p.Time += 1_000_000
	var full bool
	if k.st, full = k.in.Inspect(k.st, &k.p, d == sideSrc, &k.rec); full {
		k.cut()
		k.in.Segment(k.st, &k.rec)
	}
	clear(k.p.Payload) // nothing may point into the packet
}

func (k *talk) cut() {
	k.cuts = append(k.cuts, k.rec.Clone())
}

// end closes the flow and checks that it gave everything back.
func (k *talk) end() *flow.Record {
	k.in.Close(k.st, &k.rec)
	if n := k.in.Stats().BufferBytes; n != 0 {
		k.t.Errorf("%d octets of buffers were not given back", n)
	}
	return &k.rec
}

// requests and statuses are those of all segments.
func (k *talk) requests() (all []string) {
	for _, r := range k.cuts {
		all = append(all, r.HTTPRequests...)
	}
	return append(all, k.rec.HTTPRequests...)
}

func (k *talk) statuses() (all []uint16) {
	for _, r := range k.cuts {
		all = append(all, r.HTTPStatuses...)
	}
	return append(all, k.rec.HTTPStatuses...)
}

// goHello is the record with the ClientHello of Go's own TLS client.
func goHello(t testing.TB, name string, alpn ...string) string {
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		c := tls.Client(a, &tls.Config{ServerName: name, NextProtos: alpn})
		c.Handshake() // fails when b is closed
		a.Close()
	}()
	buf := make([]byte, 8192)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	for n < 5+int(binary.BigEndian.Uint16(buf[3:])) {
		m, err := b.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	return string(buf[:n])
}

// serverHello is a minimal ServerHello record of TLS 1.2 with cipher 0xc02f.
func serverHelloRecord() string {
	body := "\x03\x03" + string(make([]byte, 32)) + "\x00" + "\xc0\x2f" + "\x00" + "\x00\x05" + "\xff\x01\x00\x01\x00"
	m := "\x02\x00\x00" + string([]byte{byte(len(body))}) + body
	return "\x16\x03\x03\x00" + string([]byte{byte(len(m))}) + m
}

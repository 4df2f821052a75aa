package dpi

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// checkRecord holds what every record must fulfil, whatever was on the wire.
func checkRecord(t *testing.T, r *flow.Record) {
	t.Helper()
	lists := append(append(append([]string{r.App, r.TLSSNI, r.TLSALPN, r.JA3, r.JA3S, r.JA4, r.HTTPMethod, r.HTTPHost, r.HTTPURI, r.HTTPUserAgent,
		r.HTTPContentType, r.SSHClient, r.SSHServer, r.HASSH, r.HASSHServer}, r.HTTPRequests...), r.DNSNames...), r.DNSAnswers...)
	lists = append(append(append(lists, r.User, r.Domain, r.AppHost, r.AppVersion, r.ClientSoftware, r.ServerSoftware), r.AppRequests...), r.AppResponses...)
	for _, s := range lists {
		if len(s) > flow.MaxString || !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			t.Errorf("string %q", s)
		}
	}
	if len(r.DNSNames) != len(r.DNSQTypes) || len(r.DNSNames) != len(r.DNSRcodes) {
		t.Errorf("%d names, %d types, %d rcodes", len(r.DNSNames), len(r.DNSQTypes), len(r.DNSRcodes))
	}
	for _, n := range []int{len(r.DNSNames), len(r.DNSAnswers), len(r.HTTPRequests), len(r.HTTPStatuses), len(r.AppRequests), len(r.AppResponses)} {
		if n > flow.MaxList {
			t.Errorf("a list of %d", n)
		}
	}
}

// FuzzFlow plays arbitrary segments: each begins with three octets, side and
// flags, distance from the place where the side is, length.
func FuzzFlow(f *testing.F) {
	frame := func(parts ...string) (s []byte) {
		for i, p := range parts {
			for len(p) > 0 {
				n := min(len(p), 255)
				s = append(append(s, byte(i&1), 128, byte(n)), p[:n]...)
				p = p[n:]
			}
		}
		return s
	}
	hello := goHello(f, "example.org", "h2")
	f.Add(uint8(6), uint16(443), frame(hello, serverHelloRecord()))
	f.Add(uint8(6), uint16(443), frame(hello[:100]+"\x01\x80\x01", hello[50:]))
	f.Add(uint8(6), uint16(80), frame(get("/a")+get("/b"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Add(uint8(6), uint16(80), frame("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", "HTTP/1.1 304 X\r\nContent-Length: 3\r\n\r\nHTTP/1.1 101 X\r\n\r\n"))
	f.Add(uint8(6), uint16(22), frame("SSH-2.0-a\r\n"+kexInit("a", "b", "c", "d"), "SSH-2.0-b\r\n"+kexInit("a")))
	f.Add(uint8(6), uint16(53), frame("\x00\x15"+query(7, "a.b", 1)))
	f.Add(uint8(17), uint16(53), frame(query(7, "a.b", 1), response(7, 0, "a.b", 1, [2]string{"1", "\x01\x02\x03\x04"}, [2]string{"16", "\x01a"})))
	f.Add(uint8(17), uint16(137), frame(query(7, "FHEPFCELEHFCEPFFFACACACACACACABN", 32)))
	f.Add(uint8(17), uint16(443), frame(sealInitial(f, quicV1, "12345678", "12345678", "", true, 0, crypto(3, "abc"))))
	f.Add(uint8(132), uint16(80), frame("\x00\x03\x00\x22\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00GET / HTTP/1.1\r\n\r\n"))
	addSamples(f)
	f.Fuzz(func(t *testing.T, proto uint8, port uint16, script []byte) {
		in := NewInspector(Config{BufferBytes: 64 << 10, InternStrings: 16})
		var (
			rec  flow.Record
			st   *State
			next [2]uint32
		)
		rec.SrcPort, rec.DstPort = 40000, port
		for len(script) >= 3 {
			d, shift, n := script[0]&1, int32(script[1])-128, min(int(script[2]), len(script)-3)
			p := decode.Packet{Protocol: proto, Seq: next[d] + uint32(shift*7), Payload: script[3 : 3+n], PayloadLen: uint32(n) + uint32(script[0]>>6)*100, Flags: 16}
			p.Fragment = script[0]&32 != 0
			if script[0]&8 != 0 {
				p.Ack = next[1-d]
			}
			if script[0]&16 != 0 {
				st.Flip()
			}
			next[d] = p.Seq + p.PayloadLen
			var full bool
			if st, full = in.Inspect(st, &p, d == 0, &rec); full {
				checkRecord(t, &rec)
				in.Segment(st, &rec)
			}
			if held := in.Stats().BufferBytes; held > streamLimit {
				t.Fatalf("one flow holds %d octets", held)
			}
			script = script[3+n:]
		}
		in.Close(st, &rec)
		checkRecord(t, &rec)
		if n := in.Stats().BufferBytes; n != 0 {
			t.Errorf("%d octets were not given back", n)
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add([]byte(goHello(f, "example.org", "h2", "http/1.1")[9:]))
	f.Add([]byte(serverHelloRecord()[9:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, rec := NewInspector(Config{}), flow.Record{}
		in.clientHello(b, 't', &rec)
		in.serverHello(b, &rec)
		if rec.JA4 != "" && len(rec.JA4) != 36 {
			t.Errorf("ja4 %q", rec.JA4)
		}
		checkRecord(t, &rec)
	})
}

func FuzzDNSMessage(f *testing.F) {
	f.Add([]byte(query(1, "a.b", 1)))
	f.Add([]byte(response(1, 0, "a.b", 1, [2]string{"5", "\x01a\xc0\x0c"}, [2]string{"15", "\x00\x01\xc0\x0c"}, [2]string{"16", "\x02ab\x05"})))
	f.Add([]byte(u16(1, 0x8180, 0, 2, 0, 0) + "\xc0\x0c" + u16(1, 1, 0, 1, 4) + "abcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, rec := NewInspector(Config{}), flow.Record{}
		st := in.newState()
		in.dnsMessage(st, b, &rec, 1)
		looksDNS(b, true)
		looksDNS(b, false)
		checkRecord(t, &rec)
	})
}

func FuzzQUIC(f *testing.F) {
	f.Add([]byte(sealInitial(f, quicV1, "12345678", "12345678", "t", true, 0, crypto(0, "abc"))), []byte(crypto(0, "abc")+crypto(2, "c")+"\x02\x01\x00\x00\x00"))
	f.Add([]byte(sealInitial(f, quicV2, "", "", "", true, 0, crypto(0, "abc"))), []byte(crypto(0, goHello(f, "a.b")[5:])))
	f.Add([]byte("\x09abcdefghQ043"), []byte("\x06\x80\x00\x40\x00\x01a"))
	f.Fuzz(func(t *testing.T, datagram, frames []byte) {
		in, rec := NewInspector(Config{}), flow.Record{}
		st := in.newState()
		looksQUIC(datagram)
		in.quicDatagram(st, sideSrc, datagram, &rec, 0)
		if st.half[0].dead {
			return
		}
		in.quicFrames(st, sideSrc, frames, &rec)
		in.release(st)
		checkRecord(t, &rec)
	})
}

func FuzzHTTPHeader(f *testing.F) {
	f.Add([]byte(get("/a")))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: a\r\n b\r\nTransfer-Encoding: x, chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, rec := NewInspector(Config{}), flow.Record{}
		m := parseHTTP(b)
		in.noteRequest(&m, &rec)
		in.noteResponse(&m, &rec, 0)
		scan := 0
		whole := headerEnd(b, &scan)
		scan = 0
		for i := range b { // piece by piece it ends at the same place
			if n := headerEnd(b[:i], &scan); n != 0 {
				if n != whole {
					t.Errorf("header ends at %d or %d", n, whole)
				}
				break
			}
		}
		checkRecord(t, &rec)
	})
}

func FuzzKexInit(f *testing.F) {
	f.Add([]byte(kexInit("a", "b", "c", "d", "e", "f", "g", "h")[22:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, rec := NewInspector(Config{}), flow.Record{}
		in.kexInit(b, sideSrc, &rec)
		in.kexInit(b, sideDst, &rec)
		checkRecord(t, &rec)
	})
}

package contract

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// hostile is traffic made to cost much: n packets or so.
type hostile struct {
	name  string
	write func(w *wire, n int)
}

const (
	segment  = 1400   // octets of payload in a TCP segment
	largest  = 65_000 // octets of payload in what an offload has put together
	attacker = host(66<<24 | 1)
)

// stream is one TCP connection whose client, or server, sends head and then
// unit for ever, in segments of size octets.
func stream(name string, port uint16, server bool, size int, head, unit string) hostile {
	return hostile{name, func(w *wire, n int) {
		at := base
		a, b, ap, bp := attacker, victim, uint16(40_000), port
		w.tcp(at, a, b, ap, bp, syn, 99, 0, nil)
		w.tcp(at, b, a, bp, ap, syn|ack, 99, 100, nil)
		w.tcp(at, a, b, ap, bp, ack, 100, 100, nil)
		if server {
			a, b, ap, bp = b, a, bp, ap
		}
		text := []byte(head + strings.Repeat(unit, size/len(unit)+2))
		from, seq := 0, uint32(100)
		for range n {
			at += 1000
			w.tcp(at, a, b, ap, bp, psh|ack, seq, 100, text[from:from+size])
			seq += uint32(size)
			if from += size; from >= len(head) { // go on in the middle of a unit
				from = len(head) + (from-len(head))%len(unit)
			}
			for from+size > len(text) {
				text = append(text, unit...)
			}
		}
	}}
}

// datagrams are n UDP datagrams from as many ports, or of one flow.
func datagrams(name string, port uint16, oneFlow bool, payload func(i int) []byte) hostile {
	return hostile{name, func(w *wire, n int) {
		for i := range n {
			from := uint16(40_000)
			if !oneFlow {
				from = uint16(1024 + i%60_000)
			}
			w.udp(base+int64(i)*1000, attacker, victim, from, port, payload(i))
		}
	}}
}

func always(b string) func(int) []byte { return func(int) []byte { return []byte(b) } }

// fill repeats unit after head up to n octets.
func fill(n int, head, unit string) string {
	return (head + strings.Repeat(unit, (n-len(head))/len(unit)+1))[:n]
}

// pointers is a DNS answer of n octets in which each name is one letter and a
// pointer to the name before: names of names of names.
func pointers(n int) string {
	b := []byte{0, 1, 0x81, 0x80, 0, 1, 0x0f, 0xff, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1}
	before := 12
	for len(b)+20 < n {
		at := len(b)
		b = append(b, 1, 'x', 0xc0|byte(before>>8), byte(before), 0, 5, 0, 1, 0, 0, 0, 1, 0, 4, 1, 'y', 0xc0|byte(at>>8), byte(at))
		if at+14 < 0x3fff {
			before = at + 14
		}
	}
	return string(b)
}

// loops is a DNS message of n octets with names that point to themselves, and to
// pointers.
func loops(n int) string {
	b := []byte{0, 1, 0x81, 0x80, 0, 0, 0x3f, 0xff, 0, 0, 0, 0}
	for len(b)+12 < n {
		at := min(len(b), 0x3fff)
		b = append(b, 0xc0|byte(at>>8), byte(at), 0, 1, 0, 1, 0, 0, 0, 1, 0, 0)
	}
	return string(b)
}

func lengthed(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

// initials are QUIC Initial packets in one datagram, each with keys of its own.
func initials(n int) func(int) []byte {
	return func(k int) []byte {
		var b []byte
		for i := 0; len(b)+60 < n; i++ {
			b = append(b, 0xc3, 0, 0, 0, 1, 8)
			b = binary.BigEndian.AppendUint64(b, uint64(k)<<32|uint64(i))
			b = append(b, 0, 0, 0x40, 24)
			b = append(b, make([]byte, 24)...)
		}
		return b
	}
}

// streams are R18's attacks, and their kin of other protocols.
func streams() []hostile {
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	list := []hostile{
		{"half-open streams", func(w *wire, n int) {
			hello := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x40")
			for i := range n / 2 {
				at, from := base+int64(i)*20_000, attacker+host(i)
				w.tcp(at, from, victim, 40_000, 443, syn, 99, 0, nil)
				w.tcp(at+1000, from, victim, 40_000, 443, psh|ack, 100, 100, hello)
			}
		}},
		{"holes in every stream", func(w *wire, n int) {
			hello := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 600))
			for i := range n / 2 {
				at, from := base+int64(i)*20_000, attacker+host(i/4)
				w.tcp(at, from, victim, 40_000, 443, psh|ack, 100+uint32(i%4)*2000, 100, hello)
				w.tcp(at+1000, victim, from, 443, 40_000, psh|ack, 1000+uint32(i%4)*2000, 100, hello)
			}
		}},
		{"holes in one stream", func(w *wire, n int) {
			for i := range n {
				w.tcp(base+int64(i)*1000, attacker, victim, 40_000, 443, psh|ack, 100+uint32(i)*3, 100, []byte{22})
			}
		}},
		{"octets backwards", func(w *wire, n int) {
			for i := range n {
				w.tcp(base+int64(i)*1000, attacker, victim, 40_000, 443, psh|ack, 1<<31-uint32(i), 100, []byte{22, 3})
			}
		}},
		{"overlapping segments", func(w *wire, n int) {
			b := bytes.Repeat([]byte{22}, 700)
			for i := range n {
				w.tcp(base+int64(i)*1000, attacker, victim, 40_000, 443, psh|ack, 100+uint32(i*7919%16_000), 100, b)
			}
		}},
		{"first fragments", func(w *wire, n int) {
			b := bytes.Repeat([]byte{0x9c, 0x40, 0, 53, 0, 200, 0, 0}, 8)
			for i := range n {
				w.fragment(base+int64(i)*1000, attacker+host(i>>16), victim, uint16(i), 0, true, b)
			}
		}},
		{"later fragments", func(w *wire, n int) {
			b := make([]byte, 64)
			for i := range n {
				w.fragment(base+int64(i)*1000, attacker+host(i>>16), victim, uint16(i), 8*(i%8000+1), true, b)
			}
		}},
		{"fragments of one datagram", func(w *wire, n int) {
			b := make([]byte, 8)
			for i := range n {
				w.fragment(base+int64(i)*1000, attacker, victim, 7, 16*(i*7919%4000), true, b)
			}
		}},
		{"large datagrams in fragments", func(w *wire, n int) {
			whole := []byte("\x9c\x40\x00\x35\xff\x00\x00\x00" + pointers(65_000))
			for i := range n {
				k := i % 47 * 1376
				w.fragment(base+int64(i)*1000, attacker, victim, uint16(i/47), k, i%47 != 46, whole[k:min(k+1376, len(whole))])
			}
		}},
		datagrams("DNS pointers", 53, true, always(pointers(segment))),
		datagrams("DNS pointers, large", 53, false, always(pointers(largest))),
		datagrams("DNS loops, large", 53, false, always(loops(largest))),
		datagrams("DNS questions, large", 53, false, always(fill(largest, "\x00\x01\x01\x00\xff\xff\x00\x00\x00\x00\x00\x00", "\x01a\x00\x00\x01\x00\x01"))),
		stream("DNS pointers, TCP", 53, false, segment, "", lengthed(pointers(largest))),
		stream("DNS messages of nothing, TCP", 53, false, segment, "", "\x00\x0c\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		datagrams("QUIC Initials", 443, true, initials(1200)),
		datagrams("QUIC Initials, large", 443, false, initials(largest)),
		datagrams("DTLS records", 4433, true, always(fill(largest, "", "\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x01"))),
		datagrams("SNMP nested", 161, false, always(fill(largest, "\x30\x82\xfd\xe0\x02\x01\x01\x04\x01a", "\x30\x82\xf0\x00"))),
		datagrams("Kerberos nested", 88, false, always(fill(largest, "\x6a\x83\x00\xfd\xe0\x30\x83\x00\xfd\xd0\xa1\x03\x02\x01\x05", "\xa4\x82\xf0\x00"))),
		datagrams("RADIUS attributes", 1812, false, always(fill(largest, "\x01\x01\xfd\xe8"+strings.Repeat("a", 16), "\x01\x02"))),
		datagrams("DHCP options", 67, false, always(fill(largest, "\x01\x01\x06\x00"+strings.Repeat("\x00", 232)+"\x63\x82\x53\x63\x35\x01\x01", "\x0c\x00"))),
		datagrams("IKE payloads", 500, false, always(fill(largest, "12345678\x00\x00\x00\x00\x00\x00\x00\x00\x01\x10\x02\x00\x00\x00\x00\x00\x00\x00\xfd\xe8", "\x01\x00\x00\x04"))),
		datagrams("STUN attributes", 3478, false, always(fill(largest, "\x00\x01\xfd\xd4\x21\x12\xa4\x42123456789012", "\x80\x22\x00\x00"))),
		datagrams("CoAP options", 5683, false, always(fill(largest, "\x40\x01\x00\x01", "\xb0\x00\x00"))),
		datagrams("SIP lines", 5060, false, always(fill(largest, "INVITE sip:a@b SIP/2.0\r\n", "a:\r\n"))),
		datagrams("SSDP folded", 1900, false, always(fill(largest, "M-SEARCH * HTTP/1.1\r\nHost: a\r\n", " \r\n"))),
		datagrams("BitTorrent nested", 6881, false, always(fill(largest, "d1:ad2:id20:abcdefghij0123456789", "l"))),
		datagrams("NetBIOS pointers", 137, false, always(loops(largest))),
		datagrams("unknown, many flows", 9999, false, always(fill(segment, "", "\x00\xff\x17abc"))),
		stream("TLS records of one octet", 443, false, segment, "", "\x16\x03\x01\x00\x01\x01"),
		stream("TLS empty records", 443, false, segment, "", "\x17\x03\x03\x00\x00"),
		stream("TLS empty handshakes", 443, true, segment, "", "\x16\x03\x03\x00\x04\x0e\x00\x00\x00"),
		stream("TLS records, large", 443, false, largest-100, "", "\x16\x03\x01\x00\x01\x01"),
		stream("TLS certificates", 443, true, segment, "\x16\x03\x03\x40\x00\x0b\x00\xff\xf0\x00\xff\xed", "\x00\x00\x01\x30"),
		stream("SSH banner", 22, true, segment, "SSH-2.0-", "x"),
		stream("SSH banner, octet by octet", 22, true, 1, "SSH-2.0-", "x"),
		stream("SSH lines before the banner", 22, true, segment, "", "x\r\n"),
		stream("SSH packets", 22, false, segment, "SSH-2.0-a\r\n", "\x00\x00\x00\x04\x03\x14\x00\x00"),
		stream("HTTP folded lines", 80, false, segment, "GET / HTTP/1.1\r\nHost: x\r\n", " \r\n"),
		stream("HTTP folded lines, octet by octet", 80, false, 1, "GET / HTTP/1.1\r\nHost: x\r\n", " \r\n"),
		stream("HTTP lines", 80, false, segment, "GET / HTTP/1.1\r\n", "a:\r\n"),
		stream("HTTP one line", 80, false, segment, "GET / HTTP/1.1\r\na: ", "x"),
		stream("HTTP chunks", 80, true, segment, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
		stream("HTTP requests", 80, false, segment, "", "GET / HTTP/1.1\r\n\r\n"),
		stream("HTTP requests, large", 80, false, largest-100, "", "GET / HTTP/1.1\r\n\r\n"),
		stream("HTTP/2 CONTINUATION", 8080, false, segment, preface+"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88", "\x00\x00\x01\x09\x00\x00\x00\x00\x01\x88"),
		stream("HTTP/2 headers and resets", 8080, false, segment, preface, "\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"),
		stream("HTTP/2 indexed headers", 8080, false, segment, preface+"\x00\x40\x00\x01\x04\x00\x00\x00\x01", "\xbe"),
		stream("HTTP/2 settings", 8080, false, largest-100, preface, "\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
		stream("WebSocket frames", 80, false, segment, "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: a\r\n\r\n", "\x89\x80aaaa"),
		stream("SMB keep-alives", 445, false, segment, "", "\x85\x00\x00\x00"),
		stream("SMB compounds", 445, false, segment, "", "\x00\x00\x00\x40\xfeSMB\x40\x00"+strings.Repeat("\x00", 58)),
		stream("LDAP nested", 389, false, segment, "\x30\x84\x00\x00\xf0\x00\x02\x01\x01\x63\x84\x00\x00\xe0\x00", "\xa0\x84\x00\x00\xd0\x00"),
		stream("LDAP messages", 389, false, segment, "", "\x30\x05\x02\x01\x01\x42\x00"),
		stream("Redis arrays", 6379, false, segment, "", "*1\r\n$1\r\na\r\n"),
		stream("Redis nested", 6379, false, segment, "", "*1\r\n"),
		stream("MySQL packets", 3306, true, segment, "", "\x01\x00\x00\x00\x0a"),
		stream("PostgreSQL messages", 5432, false, segment, "\x00\x00\x00\x08\x00\x03\x00\x00", "S\x00\x00\x00\x04"),
		stream("MongoDB messages", 27017, false, segment, "", "\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00"),
		stream("MQTT pings", 1883, false, segment, "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", "\xc0\x00"),
		stream("AMQP frames", 5672, false, segment, "AMQP\x00\x00\x09\x01", "\x08\x00\x00\x00\x00\x00\x00\xce"),
		stream("Kafka requests", 9092, false, segment, "", "\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"),
		stream("SMTP lines", 25, false, segment, "EHLO a\r\n", "a\r\n"),
		stream("SMTP answers", 25, true, segment, "", "250-\r\n"),
		stream("FTP lines", 21, false, segment, "USER a\r\n", "PORT 1,1,1,1,1,1\r\n"),
		stream("IMAP lines", 143, false, segment, "", "a NOOP\r\n"),
		stream("POP3 lines", 110, false, segment, "USER a\r\n", "NOOP\r\n"),
		stream("Telnet options", 23, false, segment, "", "\xff\xfb\x01"),
		stream("TPKT", 102, false, segment, "", "\x03\x00\x00\x07\x02\xf0\x80"),
		stream("Modbus", 502, false, segment, "", "\x00\x01\x00\x00\x00\x02\x01\x03"),
		stream("RTSP", 554, false, segment, "", "$\x00\x00\x00"),
		stream("BitTorrent messages", 6881, false, segment, "\x13BitTorrent protocol"+strings.Repeat("a", 48), "\x00\x00\x00\x00"),
		stream("one octet alphanumeric", 9999, false, 1, "", "a"),
		{"labels, tags and tunnels", func(w *wire, n int) {
			stacks := []string{
				fill(largest, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01", "\x81\x00\x00\x01"),
				fill(largest, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x88\x47", "\x00\x01\x00\x40"),
				fill(largest, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00", "\x45\x00\xf0\x00\x00\x00\x00\x00\x40\x04\x00\x00\x01\x01\x01\x01\x02\x02\x02\x02"),
				fill(largest, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00", "\x45\x00\xf0\x00\x00\x00\x00\x00\x40\x2f\x00\x00\x01\x01\x01\x01\x02\x02\x02\x02\x00\x00\x08\x00"),
				fill(largest, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x86\xdd\x60\x00\x00\x00\xf0\x00\x00\x40"+strings.Repeat("a", 32), "\x00\x00\x00\x00\x00\x00\x00\x00"),
			}
			for i := range n {
				b := []byte(stacks[i%len(stacks)])
				w.put(base+int64(i)*1000, b, uint32(len(b)))
			}
		}},
		{"SCTP chunks", func(w *wire, n int) {
			b := []byte(fill(largest, "\x00\x50\x00\x50\x00\x00\x00\x01\x00\x00\x00\x00", "\x00\x03\x00\x11\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"))
			for i := range n {
				w.ip(attacker+host(i%1000), victim, 132, 0, 0, len(b))
				w.end(base+int64(i)*1000, b)
			}
		}},
	}
	return list
}

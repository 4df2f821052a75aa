package scene

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// noise is n octets without a pattern.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func u16(b []byte, v int) []byte { return binary.BigEndian.AppendUint16(b, uint16(v)) }

// sized is b with its length before it.
func sized(octets int, b []byte) []byte {
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(b)))
	return append(append([]byte(nil), head[4-octets:]...), b...)
}

// extension is a TLS extension.
func extension(kind int, body []byte) []byte { return append(u16(nil, kind), sized(2, body)...) }

// client is a kind of TLS client: what fingerprints tell apart.
type client struct {
	ciphers []int
	alpn    []string
	groups  []int
}

func browser() client {
	return client{[]int{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8}, []string{"h2", "http/1.1"}, []int{29, 23, 24}}
}

func tool() client {
	return client{[]int{0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0x9f, 0xcca9}, []string{"http/1.1"}, []int{29, 23, 30, 25, 24}}
}

// implant is a client of which there is no second; with a Rand its list of
// ciphers is shuffled.
func implant(r *rand.Rand) client {
	c := client{[]int{0xc014, 0xc013, 0x35, 0x2f, 0xc00a, 0xc009, 0x0a, 0x1301}, nil, []int{23, 24}}
	if r != nil {
		r.Shuffle(len(c.ciphers), func(i, j int) { c.ciphers[i], c.ciphers[j] = c.ciphers[j], c.ciphers[i] })
	}
	return c
}

// hello is a ClientHello record for a name; an empty name leaves SNI out.
func (c client) hello(r *rand.Rand, name string) []byte {
	b := append([]byte{3, 3}, noise(r, 32)...)
	b = append(b, sized(1, noise(r, 32))...)
	var ciphers, exts, groups []byte
	for _, v := range c.ciphers {
		ciphers = u16(ciphers, v)
	}
	for _, v := range c.groups {
		groups = u16(groups, v)
	}
	b = append(append(b, sized(2, ciphers)...), 1, 0)
	if name != "" {
		exts = append(exts, extension(0, sized(2, append([]byte{0}, sized(2, []byte(name))...)))...)
	}
	exts = append(exts, extension(10, sized(2, groups))...)
	exts = append(exts, extension(11, []byte{1, 0})...)
	exts = append(exts, extension(13, sized(2, []byte{4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1}))...)
	if len(c.alpn) > 0 {
		var list []byte
		for _, p := range c.alpn {
			list = append(list, sized(1, []byte(p))...)
		}
		exts = append(exts, extension(16, sized(2, list))...)
	}
	exts = append(exts, extension(43, []byte{4, 3, 4, 3, 3})...)
	exts = append(exts, extension(51, sized(2, append([]byte{0, 29, 0, 32}, noise(r, 32)...)))...)
	return record(22, append([]byte{1}, sized(3, append(b, sized(2, exts)...))...))
}

// serverHello answers it, with what looks like the encrypted rest.
func serverHello(r *rand.Rand) []byte {
	b := append([]byte{3, 3}, noise(r, 32)...)
	b = append(b, sized(1, noise(r, 32))...)
	b = append(b, 0x13, 1, 0)
	exts := append(extension(43, []byte{3, 4}), extension(51, append([]byte{0, 29, 0, 32}, noise(r, 32)...))...)
	out := record(22, append([]byte{2}, sized(3, append(b, sized(2, exts)...))...))
	out = append(out, record(20, []byte{1})...)
	return append(out, record(23, noise(r, 300))...)
}

func record(kind byte, body []byte) []byte { return append([]byte{kind, 3, 3}, sized(2, body)...) }

// query is a DNS question; answer is its answer, with rcode and records of the
// type: addresses, or text that fills octets.
func query(id uint16, name string, kind dnsmessage.Type) []byte {
	return message(dnsmessage.Header{ID: id, RecursionDesired: true}, name, kind, nil, 0)
}

func answer(id uint16, name string, kind dnsmessage.Type, code dnsmessage.RCode, address netip.Addr, text []byte) []byte {
	h := dnsmessage.Header{ID: id, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: code}
	if code != dnsmessage.RCodeSuccess {
		return message(h, name, kind, nil, 0)
	}
	var body dnsmessage.ResourceBody
	switch kind {
	case dnsmessage.TypeA:
		body = &dnsmessage.AResource{A: address.As4()}
	case dnsmessage.TypeCNAME:
		body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(clip(string(text)) + ".t.example.")}
	case dnsmessage.TypeMX:
		body = &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName(clip(string(text)) + ".t.example.")}
	case dnsmessage.TypeTXT:
		var parts []string
		for len(text) > 0 {
			n := min(255, len(text))
			parts, text = append(parts, string(text[:n])), text[n:]
		}
		body = &dnsmessage.TXTResource{TXT: parts}
	default:
		body = &dnsmessage.UnknownResource{Type: kind, Data: text}
	}
	return message(h, name, kind, body, 60)
}

func clip(s string) string { return s[:min(60, len(s))] }

func message(h dnsmessage.Header, name string, kind dnsmessage.Type, body dnsmessage.ResourceBody, ttl uint32) []byte {
	q := dnsmessage.MustNewName(strings.TrimSuffix(name, ".") + ".")
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{{Name: q, Type: kind, Class: dnsmessage.ClassINET}}}
	if body != nil {
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q, Type: kind, Class: dnsmessage.ClassINET, TTL: ttl}, Body: body}}
	}
	b, err := m.Pack()
	if err != nil {
		panic(err) // names and texts of our own making
	}
	return b
}

// ntp is a client's or a server's packet.
func ntp(server bool) []byte {
	b := make([]byte, 48)
	b[0] = 0x23
	if server {
		b[0], b[1] = 0x24, 2
	}
	return b
}

func get(host, uri, agent string) []byte {
	return []byte(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\n\r\n", uri, host, agent))
}

func ok(length int) []byte {
	return []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n", length))
}

// smb is an SMB2 header with a command, behind its NetBIOS length.
func smb(command uint16, response bool, body int) []byte {
	b := append([]byte{0xfe, 'S', 'M', 'B', 64, 0}, make([]byte, 58+body)...)
	binary.LittleEndian.PutUint16(b[12:], command)
	if response {
		b[16] = 1
	}
	return sized(4, b)
}

// rdp is a connection request with a cookie, and its confirmation.
func rdp(user string, confirm bool) []byte {
	if confirm {
		return []byte{3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 2, 0, 8, 0, 2, 0, 0, 0}
	}
	cookie := "Cookie: mstshash=" + user + "\r\n"
	x224 := append([]byte{0xe0, 0, 0, 0, 0, 0}, cookie...)
	x224 = append(x224, 1, 0, 8, 0, 3, 0, 0, 0)
	body := append([]byte{byte(len(x224))}, x224...)
	return append([]byte{3, 0, byte((len(body) + 4) >> 8), byte(len(body) + 4)}, body...)
}

package dpi

import (
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

const changeCipher = "\x14\x03\x03\x00\x01\x01"

func TestTLSHowever(t *testing.T) {
	hello := goHello(t, "example.org", "h2", "http/1.1")
	direct := newTalk(t, protoTCP, 8443)
	direct.send(sideSrc, hello)
	direct.send(sideDst, serverHelloRecord()+changeCipher)
	direct.send(sideSrc, changeCipher)
	if !direct.st.Done() {
		t.Error("not done when all is encrypted")
	}
	want := *direct.end()
	if want.App != "tls" || want.AppSource != flow.AppDPI || want.TLSSNI != "example.org" || want.TLSALPN != "h2,http/1.1" ||
		want.TLSVersion != 0x0303 || want.TLSCipher != 0xc02f || len(want.JA3) != 32 || len(want.JA3S) != 32 || !strings.HasPrefix(want.JA4, "t13d") || !strings.Contains(want.JA4, "h2_") {
		t.Fatalf("hello in one piece: %+v", want)
	}
	// records cuts the handshake message into records of n octets.
	records := func(n int) (out string) {
		for m := hello[5:]; len(m) > 0; {
			k := min(n, len(m))
			out += hello[:3] + string([]byte{byte(k >> 8), byte(k)}) + m[:k]
			m = m[k:]
		}
		return out
	}
	pieces := func(s string, n int) func(*talk) {
		return func(k *talk) {
			for len(s) > 0 {
				m := min(n, len(s))
				k.send(sideSrc, s[:m])
				s = s[m:]
			}
		}
	}
	for name, play := range map[string]func(*talk){
		"octet by octet":          pieces(hello, 1),
		"700 octets each":         pieces(hello, 700),
		"records of 100":          pieces(records(100), 1400),
		"records of 3":            pieces(records(3), 1400),
		"records of 50, 7 octets": pieces(records(50), 7),
		"second half first": func(k *talk) {
			n := uint32(len(hello) / 2)
			k.at(sideSrc, k.seq[0]+n, hello[n:], len(hello)-int(n))
			k.at(sideSrc, k.seq[0], hello[:n], int(n))
		},
		"middle last": func(k *talk) {
			a, b := uint32(200), uint32(500)
			k.at(sideSrc, k.seq[0], hello[:a], int(a))
			k.at(sideSrc, k.seq[0]+b, hello[b:], len(hello)-int(b))
			k.at(sideSrc, k.seq[0]+a, hello[a:b], int(b-a))
		},
		"sent again, overlapping": func(k *talk) {
			k.at(sideSrc, k.seq[0], hello[:300], 300)
			k.at(sideSrc, k.seq[0], hello[:300], 300)
			k.at(sideSrc, k.seq[0]+200, hello[200:], len(hello)-200)
		},
		"backwards, 200 each": func(k *talk) {
			k.at(sideSrc, k.seq[0], hello[:200], 200)
			for at := len(hello) - len(hello)%200; at > 0; at -= 200 {
				part := hello[at:min(at+200, len(hello))]
				k.at(sideSrc, k.seq[0]+uint32(at), part, len(part))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newTalk(t, protoTCP, 8443)
			play(k)
			k.send(sideDst, serverHelloRecord())
			if got := k.end(); got.TLSSNI != want.TLSSNI || got.JA3 != want.JA3 || got.JA4 != want.JA4 || got.JA3S != want.JA3S || got.Cut != 0 {
				t.Errorf("got sni %q ja3 %s ja4 %s ja3s %s cut %b", got.TLSSNI, got.JA3, got.JA4, got.JA3S, got.Cut)
			}
		})
	}
}

func TestTLSEdges(t *testing.T) {
	tests := []struct {
		name    string
		src     string
		app     string
		source  flow.AppSource
		version uint16
		cut     flow.Cut
	}{
		{"SSL 2 hello", "\x80\x1f\x01\x03\x01\x00\x06\x00\x00\x00\x10\x00\x00\x05\x07\x00\xc0" + strings.Repeat("r", 16), "tls", flow.AppDPI, 0x0301, 0},
		{"data in the middle", "\x17\x03\x03\x00\x04abcd", "tls", flow.AppDPI, 0, 0},
		{"hello longer than is held", "\x16\x03\x01\x40\x00\x01\x01\x00\x00" + strings.Repeat("x", 9000), "tls", flow.AppDPI, 0, 0},
		{"not TLS on 443", "\x00\x01\x02\x03 something else", "tls", flow.AppPort, 0, 0},
		{"malformed hello", "\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03zz", "tls", flow.AppDPI, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newTalk(t, protoTCP, 443)
			for s := tt.src; len(s) > 0; {
				n := min(len(s), 1400)
				k.send(sideSrc, s[:n])
				s = s[n:]
			}
			r := k.end()
			if r.App != tt.app || r.AppSource != tt.source || r.TLSVersion != tt.version || r.JA3 != "" {
				t.Errorf("app %q source %v version %x ja3 %q cut %b", r.App, r.AppSource, r.TLSVersion, r.JA3, r.Cut)
			}
		})
	}
}

func TestHelloRetryRequest(t *testing.T) {
	k := newTalk(t, protoTCP, 443)
	k.send(sideSrc, goHello(t, "example.org"))
	retry := []byte(serverHelloRecord())
	copy(retry[11:], helloRetry)
	k.send(sideDst, string(retry)+"\x14\x03\x03\x00\x01\x01")
	first := k.rec.JA3S
	other := []byte(serverHelloRecord())
	other[44], other[45] = 0x13, 0x01
	k.send(sideDst, string(other))
	if r := k.end(); r.TLSCipher != 0x1301 || r.JA3S == first {
		t.Errorf("cipher %x, ja3s %s then %s: the hello after HelloRetryRequest counts", r.TLSCipher, first, r.JA3S)
	}
}

// TestJA3JA4Vectors holds a hello against values worked out by hand from the
// definitions: GREASE in every list, sorted and unsorted parts, ALPN rules.
func TestJA3JA4Vectors(t *testing.T) {
	ext := func(kind uint16, body string) string {
		return string([]byte{byte(kind >> 8), byte(kind), byte(len(body) >> 8), byte(len(body))}) + body
	}
	hello := func(alpn string) string {
		exts := ext(0x0a0a, "") + ext(43, "\x06\x1a\x1a\x03\x04\x03\x03") + ext(0, "\x00\x06\x00\x00\x03a.b") +
			ext(10, "\x00\x06\x2a\x2a\x00\x1d\x00\x17") + ext(11, "\x01\x00") + ext(13, "\x00\x04\x04\x03\x08\x04")
		if alpn != "" {
			exts += ext(16, string([]byte{0, byte(len(alpn) + 1), byte(len(alpn))})+alpn)
		}
		return "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x06\x3a\x3a\x13\x02\x13\x01" + "\x01\x00" +
			string([]byte{byte(len(exts) >> 8), byte(len(exts))}) + exts
	}
	tests := []struct{ alpn, ja3text, ja4 string }{
		{"", "771,4866-4865,43-0-10-11-13,29-23,0", "t13d020500_"},
		{"h2", "771,4866-4865,43-0-10-11-13-16,29-23,0", "t13d0206h2_"},
		{"http/1.1", "771,4866-4865,43-0-10-11-13-16,29-23,0", "t13d0206h1_"},
		{"h", "771,4866-4865,43-0-10-11-13-16,29-23,0", "t13d0206hh_"},
		{"\xab\xcd", "771,4866-4865,43-0-10-11-13-16,29-23,0", "t13d0206ad_"},
	}
	for _, tt := range tests {
		in, rec := NewInspector(Config{}), flow.Record{}
		in.clientHello([]byte(hello(tt.alpn)), 't', &rec)
		if want := in.md5([]byte(tt.ja3text)); rec.JA3 != want {
			t.Errorf("alpn %q: ja3 %s, want the digest of %s", tt.alpn, rec.JA3, tt.ja3text)
		}
		want := tt.ja4 + string(appendTruncated(nil, []byte("1301,1302"))) + "_" + string(appendTruncated(nil, []byte("000a,000b,000d,002b_0403,0804")))
		if rec.JA4 != want {
			t.Errorf("alpn %q: ja4 %s, want %s", tt.alpn, rec.JA4, want)
		}
	}
}

// The server's first two segments change places: what the client acknowledges
// tells that something is missing before.
func TestFirstSegmentsReordered(t *testing.T) {
	answer := serverHelloRecord() + "\x15\x03\x03\x00\x02\x02\x28"
	for _, cut := range []int{1, 20, len(answer) - 3} {
		k := newTalk(t, protoTCP, 443)
		k.p.Ack = k.seq[sideDst]
		k.send(sideSrc, goHello(t, "example.org"))
		k.p.Ack = 0
		k.at(sideDst, k.seq[sideDst]+uint32(cut), answer[cut:], len(answer)-cut)
		k.at(sideDst, k.seq[sideDst], answer[:cut], cut)
		if r := k.end(); r.TLSCipher != 0xc02f || r.Risks&flow.RiskMalformedPacket != 0 || r.Risks&flow.RiskTLSFatalAlert == 0 {
			t.Errorf("cut at %d: cipher %x, %v", cut, r.TLSCipher, r.Risks.Names())
		}
	}
}

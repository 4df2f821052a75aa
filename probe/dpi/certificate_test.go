package dpi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// tap is a connection that keeps what is written to it.
type tap struct {
	net.Conn
	mu   sync.Mutex
	said [][]byte
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.said = append(c.said, slices.Clone(b))
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// handshake lets Go's TLS 1.2 client and server talk, and returns what the
// client and the server said.
func handshake(t *testing.T, sni string, template *x509.Certificate, version uint16) (client, server [][]byte, der []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	c, s := &tap{Conn: a}, &tap{Conn: b}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der, der, der}, PrivateKey: key}}, MaxVersion: version})
		if conn.Handshake() == nil {
			conn.Write([]byte("hello"))
		}
	})
	conn := tls.Client(c, &tls.Config{ServerName: sni, InsecureSkipVerify: true, MaxVersion: version})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(conn, make([]byte, 5))
	a.Close()
	b.Close()
	wg.Wait()
	return c.said, s.said, der
}

func TestCertificate(t *testing.T) {
	now := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a.example", Organization: []string{"O, Inc"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(2, 0, 0), DNSNames: []string{"*.example", "b.test"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}
	for _, tt := range []struct {
		name, sni string
		at        time.Time
		size      int // of segments
		risks     flow.Risk
	}{
		{"in one piece", "x.example", now, 1 << 20, flow.RiskTLSCertValidityTooLong},
		{"cut into segments", "x.example", now, 100, flow.RiskTLSCertValidityTooLong},
		{"octet by octet", "x.example", now, 1, flow.RiskTLSCertValidityTooLong},
		{"expired, other name", "x.other", now.AddDate(3, 0, 0), 1400, flow.RiskTLSCertValidityTooLong | flow.RiskTLSCertificateExpired | flow.RiskTLSCertificateMismatch},
		{"two labels for a star", "y.x.example", now, 1400, flow.RiskTLSCertValidityTooLong | flow.RiskTLSCertificateMismatch},
		{"about to expire", "b.test", now.AddDate(2, 0, -3), 1400, flow.RiskTLSCertValidityTooLong | flow.RiskTLSCertificateAboutToExpire},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server, der := handshake(t, tt.sni, template, tls.VersionTLS12)
			k := newTalk(t, protoTCP, 443)
			k.p.Time = tt.at.UnixNano()
			say := func(d side, b []byte) {
				for len(b) > 0 {
					n := min(len(b), tt.size)
					k.send(d, string(b[:n]))
					b = b[n:]
				}
			}
			say(sideSrc, client[0])
			k.p.Time += 5_000_000 // the client's segments, and the way
			for _, b := range server {
				say(sideDst, b)
			}
			for _, b := range client[1:] {
				say(sideSrc, b)
			}
			if !k.st.Done() {
				t.Error("not done when all is encrypted")
			}
			r := k.end()
			sum := sha256.Sum256(der)
			if r.CertSubject != `CN=a.example,O=O\, Inc` || r.CertIssuer != r.CertSubject || r.CertSHA256 != hex.EncodeToString(sum[:]) ||
				r.CertNotBefore != uint64(template.NotBefore.Unix()) || r.CertNotAfter != uint64(template.NotAfter.Unix()) ||
				!slices.Equal(r.CertNames, []string{"*.example", "b.test", "192.0.2.1"}) {
				t.Errorf("certificate %q %q %s %d %d %q", r.CertSubject, r.CertIssuer, r.CertSHA256, r.CertNotBefore, r.CertNotAfter, r.CertNames)
			}
			if want := tt.risks | flow.RiskTLSSelfsignedCertificate; r.Risks&^flow.RiskTLSNotCarryingHTTPS != want {
				t.Errorf("risks %q, want %q", r.Risks.Names(), want.Names())
			}
			if r.Cut != 0 || r.TLSHandshake < 5000 {
				t.Errorf("cut %b, handshake of %d µs", r.Cut, r.TLSHandshake)
			}
		})
	}
	client, server, _ := handshake(t, "x.example", template, tls.VersionTLS13)
	k := newTalk(t, protoTCP, 443)
	k.send(sideSrc, string(client[0]))
	for _, b := range server {
		k.send(sideDst, string(b))
	}
	k.send(sideSrc, string(client[1]))
	if r := k.end(); r.TLSVersion != 0x0304 || r.CertSHA256 != "" || r.Risks&flow.RiskMalformedPacket != 0 || !k.st.Done() {
		t.Errorf("TLS 1.3: version %x, certificate %q, risks %q, done %v", r.TLSVersion, r.CertSHA256, r.Risks.Names(), k.st.Done())
	}
}

func TestFatalAlert(t *testing.T) {
	k := newTalk(t, protoTCP, 443)
	k.send(sideSrc, goHello(t, "example.org"))
	k.send(sideDst, "\x15\x03\x01\x00\x02\x02\x28")
	if r := k.end(); r.Risks&flow.RiskTLSFatalAlert == 0 || r.AppErrors != 1 {
		t.Errorf("risks %q, %d errors", r.Risks.Names(), r.AppErrors)
	}
}

func FuzzCertificate(f *testing.F) {
	f.Add([]byte("\x30\x03\x02\x01\x00"))
	f.Fuzz(func(t *testing.T, der []byte) {
		c := readCertificate(der)
		c.risks("a.b", 1)
	})
}

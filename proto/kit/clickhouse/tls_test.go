package clickhouse_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// issue writes a certificate for addr and its key, signed by the authority whose
// files are given, or, where there are none, one that signs itself.
func issue(t *testing.T, dir, name string, addr net.IP, signer ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: len(signer) == 0, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if addr != nil {
		template.IPAddresses = []net.IP{addr}
	}
	parent, by := template, private
	if len(signer) == 2 {
		parent, by = readPair(t, signer[0], signer[1])
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func readPair(t *testing.T, cert, key string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	decode := func(file string) []byte {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		return block.Bytes
	}
	c, err := x509.ParseCertificate(decode(cert))
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.ParsePKCS8PrivateKey(decode(key))
	if err != nil {
		t.Fatal(err)
	}
	return c, k.(*ecdsa.PrivateKey)
}

// terminate listens with TLS, asks for a certificate of the authority, and hands
// on what it decrypts: the embedded server listens without TLS only.
func terminate(t *testing.T, to, cert, key, ca string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer client.Close()
				if client.(*tls.Conn).HandshakeContext(t.Context()) != nil {
					return
				}
				server, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				running.Go(func() {
					io.Copy(server, client)
					server.Close()
				})
				io.Copy(client, server)
			})
		}
	})
	return l.Addr().String()
}

// A server with a certificate: what is trusted is connected to, in both
// directions, and nothing else.
func TestTLS(t *testing.T) {
	s := server(t)
	dir := t.TempDir()
	loopback := net.IPv4(127, 0, 0, 1)
	ca, caKey := issue(t, dir, "authority", nil)
	cert, key := issue(t, dir, "server", loopback, ca, caKey)
	client, clientKey := issue(t, dir, "client", nil, ca, caKey)
	strangerCA, strangerKey := issue(t, dir, "stranger", nil)
	false1, falseKey := issue(t, dir, "false", nil, strangerCA, strangerKey)
	secure := terminate(t, s.Addr(), cert, key, ca)
	good := clickhouse.Config{Addr: []string{secure}, Username: "tap", Password: "pw", TLS: kit.TLS{Enabled: true, CA: ca, Cert: client, Key: clientKey}}
	for _, tt := range []struct {
		name   string
		change func(*clickhouse.Config)
		kind   error
		hint   string
	}{
		{"good", func(*clickhouse.Config) {}, nil, ""},
		{"wrong password", func(c *clickhouse.Config) { c.Password = "CANARY" }, clickhouse.ErrRefused, "clickhouse.password"},
		{"unknown authority", func(c *clickhouse.Config) { c.TLS.CA = strangerCA }, clickhouse.ErrTLS, "clickhouse.tls.ca"},
		{"other name", func(c *clickhouse.Config) { c.TLS.ServerName = "clickhouse.example" }, clickhouse.ErrTLS, "clickhouse.tls.server_name"},
		{"no certificate of ours", func(c *clickhouse.Config) { c.TLS.Cert, c.TLS.Key = "", "" }, clickhouse.ErrTLS, "client certificate"},
		{"a stranger's certificate", func(c *clickhouse.Config) { c.TLS.Cert, c.TLS.Key = false1, falseKey }, clickhouse.ErrTLS, "client certificate"},
		{"no tls", func(c *clickhouse.Config) { c.TLS = kit.TLS{} }, clickhouse.ErrUnreachable, "TLS"},
		{"tls to the plain port", func(c *clickhouse.Config) { c.Addr = []string{s.Addr()} }, clickhouse.ErrTLS, "9440"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			check(t, c, tt.kind, tt.hint)
		})
	}
	encrypted, err := good.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer encrypted.Close()
	var n uint64
	if err := encrypted.QueryRow(t.Context(), "SELECT sum(number) FROM numbers(10)").Scan(&n); err != nil || n != 45 {
		t.Errorf("a query over TLS: %d, %v; want 45", n, err)
	}
}

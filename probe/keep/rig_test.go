package keep

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string // path
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pem: filepath.Join(t.TempDir(), "ca.pem")}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.pem, "CERTIFICATE", der)
	return a
}

// issue writes a certificate for name, and its key.
func (a *authority) issue(t *testing.T, name, cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "EC PRIVATE KEY", pk)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	writeFile(t, path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// service is a ring with packets and its server, over TLS.
type service struct {
	ring   *Ring
	cfg    Config
	ca     *authority
	frames []frame
	tokens map[string]string
	url    string
	audit  string
}

// serve starts one; set may change the configuration.
func serve(t *testing.T, set func(*Config)) *service {
	t.Helper()
	dir := t.TempDir()
	s := &service{cfg: testConfig(t), ca: newAuthority(t), frames: numbered(2000, 400), tokens: map[string]string{}, audit: filepath.Join(dir, "audit.jsonl")}
	api := &s.cfg.API
	api.Listen, api.Tokens, api.Audit = "127.0.0.1:0", filepath.Join(dir, "tokens"), s.audit
	api.Cert, api.Key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	s.ca.issue(t, "probe", api.Cert, api.Key)
	for _, k := range []struct {
		name, within string
		rights       []string
		until        time.Time
	}{
		{"alice", "", []string{RightPackets, RightStats}, time.Time{}},
		{"bob", "", []string{RightStats}, time.Time{}},
		{"carol", "udp src portrange 100-199", []string{RightPackets}, time.Now().Add(time.Hour)},
		{"dave", "", []string{RightPackets}, time.Now().Add(-time.Second)},
	} {
		token, line, err := NewToken(k.name, k.rights, k.until, k.within)
		if err != nil {
			t.Fatal(err)
		}
		if err := AddToken(api.Tokens, line); err != nil {
			t.Fatal(err)
		}
		s.tokens[k.name] = token
	}
	if set != nil {
		set(&s.cfg)
	}
	fill(t, s.cfg, s.frames)
	s.ring = openRing(t, s.cfg)
	server, err := NewServer(s.ring, quiet(), prometheus.NewPedanticRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s.url = "https://" + server.listener.Addr().String()
	return s
}

func (s *service) client(t *testing.T) *http.Client {
	t.Helper()
	secure, err := kit.TLS{Enabled: true, CA: s.ca.pem}.Config()
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// get asks with a token and returns status and body.
func (s *service) get(t *testing.T, method, path, token string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

// lines are those of the audit file.
func (s *service) lines(t *testing.T) (list []AuditLine) {
	t.Helper()
	f, err := os.Open(s.audit)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		var l AuditLine
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v", in.Text(), err)
		}
		list = append(list, l)
	}
	return list
}

type recorder struct {
	status int
	head   http.Header
	body   bytes.Buffer
	room   int // octets until writing fails; 0: any number
}

func newRecorder() *recorder               { return &recorder{head: http.Header{}} }
func (r *recorder) Header() http.Header    { return r.head }
func (r *recorder) WriteHeader(status int) { r.status = status }
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = 200
	}
	if r.room > 0 && r.body.Len()+len(b) > r.room {
		return 0, io.ErrClosedPipe
	}
	return r.body.Write(b)
}

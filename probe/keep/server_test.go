package keep

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/kit"
)

func TestRequests(t *testing.T) {
	s := serve(t, nil)
	filters := true
	if _, err := capture.CompileFilter("ip", capture.LinkEthernet, 0); err != nil {
		filters = false
	}
	const one = "/packets?src=10.1.0.1&dst=10.2.0.2&sport=150&dport=53&proto=udp"
	for _, c := range []struct {
		name, method, path, token string
		status                    int
		text                      string
		who                       string
		packets                   uint64
	}{
		{"a flow", "GET", one, s.tokens["alice"], 200, "", "alice", 1},
		{"a flow, asked from the other end", "GET", "/packets?dst=10.1.0.1&src=10.2.0.2&dport=150&sport=53", s.tokens["alice"], 200, "", "alice", 1},
		{"a second", "GET", "/packets?start=2026-05-01T12:00:00Z&end=2026-05-01T12:00:00.999Z", s.tokens["alice"], 200, "", "alice", 1000},
		{"no token", "GET", one, "", 401, "a token is needed", "", 0},
		{"another token", "GET", one, "tw_" + strings.Repeat("A", 43), 401, "not known", "", 0},
		{"a token cut short", "GET", one, s.tokens["alice"][:40], 401, "not known", "", 0},
		{"the hash is not the token", "GET", one, "alice", 401, "not known", "", 0},
		{"without the right", "GET", one, s.tokens["bob"], 403, `right "packets"`, "bob", 0},
		{"too late", "GET", one, s.tokens["dave"], 401, "was valid until", "dave", 0},
		{"nothing matches", "GET", "/packets?src=10.1.0.1&sport=5000", s.tokens["alice"], 404, "no kept packet matches", "alice", 0},
		{"no such parameter", "GET", "/packets?srcip=10.1.0.1", s.tokens["alice"], 400, `"srcip" is not one of`, "alice", 0},
		{"no address", "GET", "/packets?src=ten", s.tokens["alice"], 400, "src: ", "alice", 0},
		{"bad encoding", "GET", "/packets?src=%zz", s.tokens["alice"], 400, "bad query", "alice", 0},
		{"post", "POST", one, s.tokens["alice"], 405, "only GET", "alice", 0},
		{"other path", "GET", "/etc/passwd", s.tokens["alice"], 404, "there are /packets and /stats", "alice", 0},
		{"other path, stranger", "GET", "/etc/passwd", "", 401, "a token is needed", "", 0},
		{"within the token's bounds", "GET", one, s.tokens["carol"], 200, "", "carol", 1},
		{"beyond the token's bounds", "GET", "/packets?sport=250", s.tokens["carol"], 404, "no kept packet matches", "carol", 0},
		{"all within the token's bounds", "GET", "/packets", s.tokens["carol"], 200, "", "carol", 100},
		{"no filter", "GET", "/packets?filter=that+is+none", s.tokens["alice"], 400, "that is none", "alice", 0},
		{"stats", "GET", "/stats", s.tokens["bob"], 200, "", "bob", 0},
		{"stats without the right", "GET", "/stats", s.tokens["carol"], 403, `right "stats"`, "carol", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if (c.who == "carol" || strings.Contains(c.path, "filter")) && !filters {
				t.Skip("libpcap is not installed")
			}
			before := len(s.lines(t))
			status, body, head := s.get(t, c.method, c.path, c.token)
			if status != c.status {
				t.Fatalf("status %d: %s", status, body)
			}
			if status != 200 {
				if !strings.Contains(body, c.text) || strings.Count(body, "\n") != 1 {
					t.Errorf("%q", body)
				}
			} else if strings.HasPrefix(c.path, "/packets") {
				if head.Get("Content-Type") != "application/vnd.tcpdump.pcap" {
					t.Error(head)
				}
				if n := len(reread(t, []byte(body))); n != int(c.packets) {
					t.Errorf("%d packets, %d are right", n, c.packets)
				}
			} else if !json.Valid([]byte(body)) {
				t.Error(body)
			}
			lines := s.lines(t)[before:]
			if len(lines) == 0 {
				t.Fatal("no line in the audit file")
			}
			l := lines[len(lines)-1]
			if l.Name != c.who || l.Status != c.status || l.Packets != c.packets || !strings.HasSuffix(l.Request, c.path) ||
				!strings.HasPrefix(l.Remote, "127.0.0.1:") || time.Since(l.Time) > time.Minute {
				t.Errorf("%+v", l)
			}
			if c.packets > 0 && (len(lines) != 2 || lines[0].Event != "begin" || l.Event != "end" || l.ID != lines[0].ID || l.Bytes != uint64(len(body))) {
				t.Errorf("%+v", lines)
			}
			for _, token := range s.tokens {
				if b, _ := os.ReadFile(s.audit); bytes.Contains(b, []byte(token)) {
					t.Fatal("a token is in the audit file")
				}
			}
		})
	}
	if st, err := os.Stat(s.audit); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}

// TestFetch is the client against the server.
func TestFetch(t *testing.T) {
	s := serve(t, nil)
	opt := FetchOptions{URL: s.url, Token: s.tokens["alice"], TLS: kit.TLS{CA: s.ca.pem}, Query: Query{Start: noon, End: noon.Add(1500 * time.Millisecond)}}
	path := filepath.Join(t.TempDir(), "flow.pcap")
	got, err := FetchFile(context.Background(), opt, path)
	if err != nil || got.Packets != 1501 || got.Truncated {
		t.Fatalf("%+v, %v", got, err)
	}
	same(t, "the file", readFrames(t, path, 0), s.frames[:1501])
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 || st.Size() != got.Bytes {
		t.Errorf("%v, %v", st, err)
	}
	for _, c := range []struct {
		name string
		set  func(*FetchOptions)
		want string
	}{
		{"unknown authority", func(o *FetchOptions) { o.TLS.CA = newAuthority(t).pem }, "certificate"},
		{"no token", func(o *FetchOptions) { o.Token = "" }, "a token is needed"},
		{"another token", func(o *FetchOptions) { o.Token = "tw_x" }, "401 Unauthorized: the token is not known"},
		{"nothing", func(o *FetchOptions) { o.Query.SrcPort = 60000 }, "404 Not Found: no kept packet matches"},
		{"in the clear", func(o *FetchOptions) { o.URL = "http://192.0.2.1:9612" }, "not sent without encryption"},
		{"no URL", func(o *FetchOptions) { o.URL = "192.0.2.1" }, "is not a URL"},
	} {
		o := opt
		c.set(&o)
		none := filepath.Join(t.TempDir(), "none")
		if _, err := FetchFile(context.Background(), o, none); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if list, _ := os.ReadDir(filepath.Dir(none)); len(list) != 0 {
			t.Errorf("%s: %v is left", c.name, list)
		}
	}
}

// TestFetchLimit: what is left out is said.
func TestFetchLimit(t *testing.T) {
	s := serve(t, func(c *Config) { c.API.MaxBytes = 100 << 10 })
	var out bytes.Buffer
	got, err := Fetch(context.Background(), FetchOptions{URL: s.url, Token: s.tokens["alice"], TLS: kit.TLS{CA: s.ca.pem}}, &out)
	if err != nil || !got.Truncated || out.Len() > 100<<10 || out.Len() < 99<<10 {
		t.Fatalf("%+v, %v, %d bytes", got, err, out.Len())
	}
	if l := s.lines(t); !l[len(l)-1].Truncated {
		t.Errorf("%+v", l[len(l)-1])
	}
}

// TestBroken: a fetch that cannot go on must not look whole.
func TestBroken(t *testing.T) {
	s := serve(t, nil)
	server, err := NewServer(s.ring, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest("GET", "/packets", nil)
	req.Header.Set("Authorization", "Bearer "+s.tokens["alice"])
	rec := newRecorder()
	rec.room = 100 << 10
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("the connection is not broken off")
			}
		}()
		server.Handler().ServeHTTP(rec, req)
	}()
	lines := s.lines(t)
	if l := lines[len(lines)-1]; l.Event != "end" || l.Error == "" || l.Bytes != uint64(rec.body.Len()) {
		t.Errorf("%+v, %d bytes were sent", l, rec.body.Len())
	}
	// A proxy may hide that from the client: the end is missing all the same.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(rec.body.Bytes()) }))
	defer proxy.Close()
	if _, err := Fetch(context.Background(), FetchOptions{URL: proxy.URL, Token: "x"}, io.Discard); err == nil || !strings.Contains(err.Error(), "not whole") {
		t.Errorf("a fetch that was broken off looks whole: %v", err)
	}
}

// TestMaxFetches refuses the fetch that is one too many.
func TestMaxFetches(t *testing.T) {
	s := serve(t, func(c *Config) { c.API.MaxFetches = 1 })
	server, err := NewServer(s.ring, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	server.slots <- struct{}{} // one is under way
	req, _ := http.NewRequest("GET", "/packets", nil)
	req.Header.Set("Authorization", "Bearer "+s.tokens["alice"])
	rec := newRecorder()
	server.Handler().ServeHTTP(rec, req)
	if rec.status != http.StatusTooManyRequests || rec.head.Get("Retry-After") == "" {
		t.Errorf("%d %s", rec.status, rec.body.String())
	}
	<-server.slots
	rec = newRecorder()
	server.Handler().ServeHTTP(rec, req)
	if rec.status != http.StatusOK {
		t.Errorf("%d %s", rec.status, rec.body.String())
	}
}

// TestNoAudit: nothing is given that is not written down.
func TestNoAudit(t *testing.T) {
	s := serve(t, func(c *Config) { c.API.Audit = filepath.Join(t.TempDir(), "missing", "audit") })
	status, body, _ := s.get(t, "GET", "/packets", s.tokens["alice"])
	if status != 503 || !strings.Contains(body, "audit file cannot be written") {
		t.Errorf("%d %s", status, body)
	}
}

// TestStrangers cannot fill the disk with lines about themselves.
func TestStrangers(t *testing.T) {
	now := noon
	a := &audit{path: filepath.Join(t.TempDir(), "audit"), log: quiet(), now: func() time.Time { return now }}
	for range 1000 {
		if err := a.write(AuditLine{Event: "refused", Status: 401}); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Second)
	if err := a.write(AuditLine{Event: "begin", Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	s := &service{audit: a.path}
	lines := s.lines(t)
	if last := lines[len(lines)-1]; len(lines) != strangerBurst+1 || last.Unwritten != 1000-strangerBurst || last.Name != "alice" {
		t.Errorf("%d lines, the last is %+v", len(lines), last)
	}
}

// TestReload takes a new certificate and new tokens without a restart.
func TestReload(t *testing.T) {
	s := serve(t, nil)
	serial := func() string {
		pool := x509.NewCertPool()
		pool.AddCert(s.ca.cert)
		c, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "https://"), &tls.Config{RootCAs: pool})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	writeFile(t, s.cfg.API.Cert, []byte("half of a certific"))
	later(t, func() bool { return true })
	if serial() != first {
		t.Error("a certificate that cannot be used was taken")
	}
	s.ca.issue(t, "probe", s.cfg.API.Cert, s.cfg.API.Key)
	later(t, func() bool { return serial() != first })

	token, line, err := NewToken("eve", []string{RightStats}, time.Time{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _ := s.get(t, "GET", "/stats", token); status != 401 {
		t.Errorf("before: %d", status)
	}
	if err := AddToken(s.cfg.API.Tokens, line); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := s.get(t, "GET", "/stats", token); status != 200 {
		t.Errorf("after: %d %s", status, body)
	}
	if err := AddToken(s.cfg.API.Tokens, line); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("twice: %v", err)
	}
	writeFile(t, s.cfg.API.Tokens, []byte("nonsense\n"))
	if status, _, _ := s.get(t, "GET", "/stats", token); status != 503 {
		t.Errorf("with nonsense in the file: %d", status)
	}
}

// later waits until what files say is noticed.
func later(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		if time.Now().After(end) {
			t.Fatal("nothing changed in 10 s")
		}
		if ok() {
			return
		}
	}
}

// TestClientCertificate asks for one when it should.
func TestClientCertificate(t *testing.T) {
	clients := newAuthority(t)
	s := serve(t, func(c *Config) { c.API.ClientCA = clients.pem })
	opt := FetchOptions{URL: s.url, Token: s.tokens["alice"], TLS: kit.TLS{CA: s.ca.pem}}
	if _, err := Fetch(context.Background(), opt, io.Discard); err == nil {
		t.Error("let in without a certificate")
	}
	dir := t.TempDir()
	opt.TLS.Cert, opt.TLS.Key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	s.ca.issue(t, "somebody", opt.TLS.Cert, opt.TLS.Key)
	if _, err := Fetch(context.Background(), opt, io.Discard); err == nil {
		t.Error("let in with a certificate of another authority")
	}
	clients.issue(t, "analyst", opt.TLS.Cert, opt.TLS.Key)
	if _, err := Fetch(context.Background(), opt, io.Discard); err != nil {
		t.Error(err)
	}
	if l := s.lines(t); l[len(l)-1].Certificate != "CN=analyst" {
		t.Errorf("%+v", l[len(l)-1])
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"off", func(c *Config) { *c = DefaultConfig() }, ""},
		{"default", func(c *Config) {}, ""},
		{"api without packets", func(c *Config) { *c = DefaultConfig(); c.API.Listen = "127.0.0.1:1" }, "where none are kept"},
		{"small ring", func(c *Config) { c.MaxBytes = 4096 }, "max_bytes"},
		{"blocks too large for the ring", func(c *Config) { c.MaxBytes, c.BlockBytes = 1<<20, 1<<20 }, "less than eight blocks"},
		{"age", func(c *Config) { c.MaxAge = time.Millisecond }, "max_age"},
		{"compression", func(c *Config) { c.Compression = "lzma" }, "compression"},
		{"all addresses in the clear", func(c *Config) { c.API.Listen, c.API.Tokens = "0.0.0.0:9612", "t" }, "without encryption"},
		{"no address in the clear", func(c *Config) { c.API.Listen, c.API.Tokens = ":9612", "t" }, "without encryption"},
		{"a name in the clear", func(c *Config) { c.API.Listen, c.API.Tokens = "probe.example.org:9612", "t" }, "without encryption"},
		{"loopback in the clear", func(c *Config) { c.API.Listen, c.API.Tokens = "[::1]:9612", "t" }, ""},
		{"encrypted", func(c *Config) { c.API.Listen, c.API.Tokens, c.API.Cert, c.API.Key = "0.0.0.0:9612", "t", "c", "k" }, ""},
		{"no tokens", func(c *Config) { c.API.Listen = "127.0.0.1:9612" }, "api.tokens"},
		{"half a pair", func(c *Config) { c.API.Listen, c.API.Tokens, c.API.Cert = "127.0.0.1:9612", "t", "c" }, "only good together"},
		{"no port", func(c *Config) { c.API.Listen = "127.0.0.1" }, "api.listen"},
	} {
		cfg := DefaultConfig()
		cfg.Dir = "/var/lib/tapwatch/packets"
		c.set(&cfg)
		err := cfg.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzTokens reads anything as a token file, and what it reads again.
func FuzzTokens(f *testing.F) {
	_, line, err := NewToken("alice", allRights, noon, "net 10.0.0.0/8 and tcp")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("# who may fetch\n\n" + line.String() + "\n")
	f.Add("alice 00 packets")
	f.Fuzz(func(t *testing.T, in string) {
		list, err := readTokens(strings.NewReader(in))
		if err != nil {
			return
		}
		for _, k := range list {
			again, err := parseToken(k.String())
			if err != nil || again.String() != k.String() {
				t.Fatalf("%q is read as %q: %v", k, again, err)
			}
		}
	})
}

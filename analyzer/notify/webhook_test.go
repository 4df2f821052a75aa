package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tapwatch/tapwatch/proto/kit/config"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func hook(t *testing.T, w Webhook) *webhook {
	t.Helper()
	w.Name = "hook"
	_, h, err := DefaultConfig().webhook("notify.webhooks[0]", w)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWebhookRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	h := hook(t, Webhook{URL: config.Secret(server.URL + "/in?token=x"), Secret: "s3cret", Allow: loopback, Headers: map[string]config.Secret{"Authorization": "Bearer abc"}})
	m := sample()
	if err := h.send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	want, _ := m.payload()
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write(want)
	if string(body) != string(want) || got.Method != "POST" || got.URL.String() != "/in?token=x" {
		t.Errorf("%s %s %s", got.Method, got.URL, body)
	}
	for name, value := range map[string]string{"Idempotency-Key": "0011aabb-3", "X-Tapwatch-Signature": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
		"Content-Type": "application/json", "Authorization": "Bearer abc"} {
		if got.Header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), value)
		}
	}
}

func TestWebhookAnswers(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, tt := range []struct {
		status  int
		refused bool
		ok      bool
		after   time.Duration
	}{
		{200, false, true, 0}, {204, false, true, 0}, {301, true, false, 0}, {302, true, false, 0}, {307, true, false, 0}, {308, true, false, 0},
		{400, true, false, 0}, {404, true, false, 0}, {408, false, false, 7 * time.Second}, {410, true, false, 0}, {429, false, false, 7 * time.Second},
		{500, false, false, 7 * time.Second}, {503, false, false, 7 * time.Second},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", other.URL)
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(tt.status)
			if tt.status != 204 {
				io.WriteString(w, "CANARY-BODY")
			}
		}))
		err := hook(t, Webhook{URL: config.Secret(server.URL), Allow: loopback}).send(t.Context(), sample())
		server.Close()
		if (err == nil) != tt.ok || err != nil && (asRefusal(err) != tt.refused || asPostponed(err) != tt.after) {
			t.Errorf("status %d: %v, refused %v, after %v", tt.status, err, asRefusal(err), asPostponed(err))
		}
		if err != nil && strings.Contains(err.Error(), "CANARY") {
			t.Errorf("status %d: the answer is echoed: %v", tt.status, err)
		}
	}
	if elsewhere.Load() > 0 {
		t.Error("a redirect was followed")
	}
}

// A server that gives its answer byte by byte, or nothing, or without end, holds
// an attempt no longer than its timeout.
func TestWebhookSlowServers(t *testing.T) {
	for name, drip := range map[string]string{"silent": "", "head": "HTTP/1.1 200 OK\r\nX: ", "no end of head": "HTTP/1.1 200 OK\r\n"} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var g sync.WaitGroup
			g.Go(func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					g.Go(func() {
						defer conn.Close()
						_, _ = io.WriteString(conn, drip)
						buf := make([]byte, 4096)
						for {
							if _, err := conn.Read(buf); err != nil {
								return
							}
							if drip != "" {
								_, _ = conn.Write([]byte("y: z\r\n"))
							}
						}
					})
				}
			})
			defer g.Wait()
			defer l.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
			defer cancel()
			start := time.Now()
			err = hook(t, Webhook{URL: config.Secret("http://" + l.Addr().String()), Allow: loopback}).send(ctx, sample())
			if err == nil || asRefusal(err) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	t.Run("endless body", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 8192)); err != nil {
					return
				}
			}
		}))
		defer server.Close()
		if err := hook(t, Webhook{URL: config.Secret(server.URL), Allow: loopback}).send(t.Context(), sample()); err != nil {
			t.Error(err)
		}
	})
}

// nameServer answers every question for an A record with what say returns.
func nameServer(t *testing.T, say func(name string) netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			r := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
			if q.Questions[0].Type == dnsmessage.TypeA {
				r.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Class: dnsmessage.ClassINET},
					Body: &dnsmessage.AResource{A: say(strings.TrimSuffix(q.Questions[0].Name.String(), ".")).As4()}}}
			}
			out, err := r.Pack()
			if err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// Whatever way an address is written or found, what is dialled is looked at.
func TestWebhookIsNoWayIn(t *testing.T) {
	var reached atomic.Int32
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:"+port)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:"+port)
	t.Setenv("ALL_PROXY", "http://127.0.0.1:"+port)

	// A name server that reads numbers as inet_aton does, as some resolvers do.
	aton := nameServer(t, func(string) netip.Addr { return netip.MustParseAddr("127.0.0.1") })
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::]", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "2130706433", "0x7f000001", "0177.0.0.1",
		"127.1", "0", "rebind.example.org", "[fe80::1%25lo]", "[64:ff9b::7f00:1]"} {
		for _, resolver := range []*net.Resolver{nil, aton} {
			h := hook(t, Webhook{URL: config.Secret("http://" + host + ":" + port + "/")})
			h.dialer.Resolver = resolver
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			err := h.send(ctx, sample())
			cancel()
			if err == nil {
				t.Errorf("%s was reached", host)
			}
			// Go itself does not look up what is a number in disguise.
			if resolver != nil && !strings.Contains(err.Error(), "not a public address") && !strings.Contains(err.Error(), "no such host") {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	if n := reached.Load(); n > 0 {
		t.Fatalf("%d requests arrived", n)
	}

	// DNS rebinding: the name is good when it is first asked for, and then turns.
	var asked atomic.Int32
	rebind := nameServer(t, func(string) netip.Addr {
		if asked.Add(1) == 1 {
			return netip.MustParseAddr("127.0.0.2")
		}
		return netip.MustParseAddr("127.0.0.1")
	})
	h := hook(t, Webhook{URL: config.Secret("http://rebind.example.org:" + port), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	h.dialer.Resolver = rebind
	if err := h.send(t.Context(), sample()); err != nil || reached.Load() != 1 {
		t.Fatalf("the allowed address: %v, %d requests", err, reached.Load())
	}
	if err := h.send(t.Context(), sample()); err == nil || reached.Load() != 1 {
		t.Errorf("the name that has turned: %v, %d requests", err, reached.Load())
	}
}

func TestWebhookErrorsHideSecrets(t *testing.T) {
	const canary = "CANARY-7f3a"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // nobody listens there now
	for _, w := range []Webhook{
		{URL: config.Secret("http://user:" + canary + "@" + addr + "/" + canary), Secret: canary, Allow: loopback},
		{URL: config.Secret("http://nowhere.invalid/" + canary), Headers: map[string]config.Secret{"X": canary}},
		{URL: config.Secret("http://10.0.0.1/" + canary)},
	} {
		err := hook(t, w).send(t.Context(), sample())
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err.Error()), canary) {
			t.Errorf("got %v", err)
		}
	}
	for _, w := range []Webhook{
		{URL: config.Secret("ftp://x/" + canary)}, {URL: config.Secret("http://%zz" + canary)}, {URL: config.Secret(canary)}, {URL: config.Secret("http://[" + canary)},
		{URL: "http://x", Headers: map[string]config.Secret{"X": canary + "\r\nY: z"}}, {URL: "http://x", Headers: map[string]config.Secret{"Host": canary}},
	} {
		w.Name = "hook"
		cfg := DefaultConfig()
		cfg.Webhooks = []Webhook{w}
		if err := cfg.Check(); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("check: %v", err)
		}
	}
}

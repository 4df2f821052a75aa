package console

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

const goodPassword = "correct horse battery"

// guarded is a console that asks nothing of a database.
func guarded(t *testing.T, cfg Config) *Console {
	t.Helper()
	c, err := New(cfg, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func withPassword(t *testing.T) *Console {
	t.Helper()
	sum, err := HashPassword(goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	return guarded(t, Config{Listen: "0.0.0.0:0", PasswordHash: config.Secret(sum)})
}

func send(c *Console, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRefusesToBeOpen(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:0": true, "localhost:0": true, "127.8.8.8:0": true, "[::ffff:127.0.0.1]:0": true, "": true,
		"0.0.0.0:0": false, ":0": false, "[::]:0": false, "10.0.0.1:80": false, "example.org:80": false, "localhost.example.org:1": false, "nonsense": false,
	} {
		_, err := New(Config{Listen: listen}, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if (err == nil) != ok {
			t.Errorf("listen %q without a password: %v", listen, err)
		}
		if err != nil && listen != "nonsense" && (!errors.Is(err, ErrUnprotected) || !strings.Contains(kit.HintOf(err), "analyzer hash-password")) {
			t.Errorf("listen %q: %v (hint %q)", listen, err, kit.HintOf(err))
		}
	}
	if _, err := New(Config{Listen: "0.0.0.0:0", PasswordHash: "hunter2"}, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a hash that is none: %v", err)
	}
}

// A web site whose name points to this machine gets nothing (DNS rebinding).
func TestHostHeader(t *testing.T) {
	c := guarded(t, Config{Listen: "127.0.0.1:0"})
	for host, ok := range map[string]bool{
		"127.0.0.1:8410": true, "localhost:8410": true, "LOCALHOST": true, "[::1]:8410": true, "[::1]": true,
		"evil.example": false, "evil.example:8410": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "10.0.0.1": false, "": false, "127.0.0.1@evil.example": false,
	} {
		for _, path := range []string{"/", "/api/openapi.json", "/assets/app.js"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host = host
			if got := send(c, r); (got.StatusCode == http.StatusOK) != ok {
				t.Errorf("%s with Host %q: %d", path, host, got.StatusCode)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	for name, c := range map[string]*Console{"open": guarded(t, Config{Listen: "127.0.0.1:0"}), "password": withPassword(t)} {
		for _, path := range []string{"/", "/login", "/assets/style.css", "/api/v1/none", "/nowhere"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host = "localhost"
			h := send(c, r).Header
			csp := h.Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'self'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s %s: CSP %q", name, path, csp)
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %v", name, path, h)
			}
		}
	}
}

// Every path of the router is shut without a session, except the login.
func TestShutByDefault(t *testing.T) {
	c := withPassword(t)
	var api struct{ Paths map[string]any }
	r := httptest.NewRequest(http.MethodGet, "/api/openapi.json", nil)
	r.SetBasicAuth(user, goodPassword)
	resp := send(c, r)
	if err := json.NewDecoder(resp.Body).Decode(&api); err != nil || len(api.Paths) < 9 {
		t.Fatalf("%v, %d paths", err, len(api.Paths))
	}
	paths := []string{"/", "/api/openapi.json", "/api/openapi.yaml", "/api/", "/assets/app.js", "/assets/page.html", "/assets/", "/nowhere", "/login/", "/assets/style.css/../app.js"}
	for p := range api.Paths {
		paths = append(paths, p)
	}
	for _, p := range paths {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
			resp := send(c, httptest.NewRequest(method, p, nil))
			if want := http.StatusUnauthorized; resp.StatusCode != want && (p != "/" || resp.StatusCode != http.StatusSeeOther) {
				t.Errorf("%s %s: %d", method, p, resp.StatusCode)
			}
		}
	}
	r = httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: ""})
	if resp := send(c, r); resp.Header.Get("Location") != "/login" {
		t.Errorf("an empty cookie: %d", resp.StatusCode)
	}
}

var formToken = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func logIn(t *testing.T, c *Console, name, password, token string, change func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(url.Values{"user": {name}, "password": {password}, "csrf": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(r)
	}
	return send(c, r)
}

func TestLogInAndOut(t *testing.T) {
	c := withPassword(t)
	now := time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)
	c.door.now = func() time.Time { return now }
	m := formToken.FindStringSubmatch(body(t, send(c, httptest.NewRequest(http.MethodGet, "/login", nil))))
	if m == nil {
		t.Fatal("the form has no token")
	}
	token := strings.ReplaceAll(m[1], "&#43;", "+")
	if resp := logIn(t, c, user, goodPassword, "", nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("without a token: %d", resp.StatusCode)
	}
	if resp := logIn(t, c, user, goodPassword, token, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); resp.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %d", resp.StatusCode)
	}
	if resp := logIn(t, c, "root", goodPassword, token, nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("another user: %d", resp.StatusCode)
	}
	resp := logIn(t, c, user, goodPassword, token, nil)
	if resp.StatusCode != http.StatusSeeOther || len(resp.Cookies()) != 1 {
		t.Fatalf("log in: %d", resp.StatusCode)
	}
	cookie := resp.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" {
		t.Errorf("cookie %v", cookie)
	}
	get := func(path string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.AddCookie(cookie)
		return send(c, r)
	}
	page := get("/")
	if page.StatusCode != http.StatusOK {
		t.Fatalf("page with a session: %d", page.StatusCode)
	}
	csrf := formToken.FindStringSubmatch(body(t, page))
	if csrf == nil {
		t.Fatal("the page has no token")
	}
	logOut := func(token string) int {
		r := httptest.NewRequest(http.MethodPost, "/logout", strings.NewReader("csrf="+token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.AddCookie(cookie)
		return send(c, r).StatusCode
	}
	if got := logOut("x"); got != http.StatusForbidden || get("/").StatusCode != http.StatusOK {
		t.Errorf("log out with a wrong token: %d", got)
	}
	if got := logOut(csrf[1]); got != http.StatusSeeOther || get("/").StatusCode != http.StatusSeeOther {
		t.Errorf("log out: %d", got)
	}
	// A session ends by itself.
	cookie = logIn(t, c, user, goodPassword, token, nil).Cookies()[0]
	now = now.Add(sessionIdle + time.Second)
	if get("/api/openapi.json").StatusCode != http.StatusUnauthorized {
		t.Error("an idle session goes on")
	}
}

func TestLockOut(t *testing.T) {
	c := withPassword(t)
	now := time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)
	c.door.now = func() time.Time { return now }
	ask := func(from, password string) int {
		r := httptest.NewRequest(http.MethodGet, "/api/openapi.json", nil)
		r.RemoteAddr = from + ":1234"
		r.SetBasicAuth(user, password)
		return send(c, r).StatusCode
	}
	for i := range freeFailures {
		if got := ask("192.0.2.1", "wrong"); got != http.StatusUnauthorized {
			t.Fatalf("wrong password %d: %d", i+1, got)
		}
	}
	ask("192.0.2.1", "wrong")
	if got := ask("192.0.2.1", goodPassword); got != http.StatusTooManyRequests {
		t.Errorf("the good password while locked out: %d", got)
	}
	if got := ask("192.0.2.2", goodPassword); got != http.StatusOK {
		t.Errorf("another address: %d", got)
	}
	now = now.Add(time.Second)
	if got := ask("192.0.2.1", goodPassword); got != http.StatusOK {
		t.Errorf("after the wait: %d", got)
	}
	var l lockout
	var wait time.Duration
	for range 40 {
		wait = l.fail("a", now)
	}
	if wait != maxWait {
		t.Errorf("wait after 40: %v", wait)
	}
	for i := range maxAddresses + 50 {
		l.fail(strings.Repeat("x", 1+i%7)+time.Duration(i).String(), now)
	}
	if len(l.all) > maxAddresses {
		t.Errorf("%d addresses are kept", len(l.all))
	}
	if l.wait("a", now) == 0 {
		t.Error("many addresses make the console forget one that is locked out")
	}
	var s sessions
	for range maxSessions + 10 {
		s.begin(user, now)
	}
	if len(s.all) > maxSessions {
		t.Errorf("%d sessions are kept", len(s.all))
	}
}

func TestHash(t *testing.T) {
	if _, err := HashPassword("too short"); err == nil {
		t.Error("a short password is taken")
	}
	a, err := HashPassword(goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := HashPassword(goodPassword); a == b {
		t.Error("no salt")
	}
	h, err := parseHash(a)
	if err != nil || !h.match(goodPassword) || h.match(goodPassword+"x") {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"", "$argon2id$", strings.Replace(a, "m=65536", "m=99999999", 1), strings.Replace(a, "t=3", "t=0", 1), strings.Replace(a, "p=1", "p=0", 1),
		strings.Replace(a, "argon2id", "argon2i", 1), strings.Replace(a, "v=19", "v=16", 1), a + "$"} {
		if _, err := parseHash(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$c3Vtc3Vtc3Vtc3Vtc3VtcA")
	f.Add("$argon2id$v=19$m=8,t=1,p=255$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := parseHash(s); err == nil && (h.memory > 1<<20 || h.time > 20 || h.lanes == 0) {
			t.Errorf("%q: %+v", s, h)
		}
	})
}

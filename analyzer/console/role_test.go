package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// withRoles is a console with a user of each role, all with the good password.
func withRoles(t *testing.T) Config {
	t.Helper()
	sum, err := HashPassword(goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Listen: "127.0.0.1:0", PasswordHash: config.Secret(sum), Users: []User{
		{Name: "eve", PasswordHash: config.Secret(sum), Role: "viewer"}, {Name: "ann", PasswordHash: config.Secret(sum), Role: "analyst"}, {Name: "root", PasswordHash: config.Secret(sum), Role: "admin"}}}
}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// Every route of the router needs a role, those that change something at least
// that of an analyst, and gets exactly the users who have it (S8).
func TestRoutesByRole(t *testing.T) {
	c := guarded(t, withRoles(t))
	reads := map[string]Role{"GET /api/v1/audit": Admin}
	patterns := c.router.patterns()
	if len(patterns) < 30 {
		t.Fatalf("%d routes", len(patterns))
	}
	for _, pattern := range patterns {
		need := c.router.roles[pattern]
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = http.MethodGet, pattern
		}
		want := Analyst
		if method == http.MethodGet {
			want = Viewer
			if r, ok := reads[pattern]; ok {
				want = r
			}
		}
		if need != want {
			t.Errorf("%s: role %q, want %q", pattern, need, want)
		}
		path = strings.ReplaceAll(path, "{$}", "")
		path = wildcard.ReplaceAllString(path, "x")
		for _, who := range []identity{{}, {name: "eve", role: Viewer}, {name: "ann", role: Analyst}, {name: "root", role: Admin}, {name: "odd", role: "superuser"}} {
			r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader("{"))
			r.Header.Set("Content-Type", "application/json")
			ctx, cancel := context.WithCancel(r.Context())
			cancel() // nothing is asked of a database: who gets past the role fails later
			status := past(c, who.in(r.WithContext(ctx)))
			if got := status != http.StatusForbidden; got != (who.role.rank() >= want.rank() || open(path)) {
				t.Errorf("%s by %q, role %q: %d", pattern, who.name, who.role, status)
			}
		}
	}
	// A route that nobody thought of is shut for everybody.
	c.router.HandleFunc("GET /forgotten", func(http.ResponseWriter, *http.Request) { t.Error("a route without a role is open") })
	if status := past(c, identity{"root", Admin, ""}.in(httptest.NewRequest(http.MethodGet, "http://localhost/forgotten", nil))); status != http.StatusForbidden {
		t.Errorf("a route without a role: %d", status)
	}
}

// past asks the router; what gets past the role and finds no database is 500.
func past(c *Console, r *http.Request) (status int) {
	w := httptest.NewRecorder()
	defer func() {
		if recover() != nil {
			status = http.StatusInternalServerError
		}
	}()
	c.router.ServeHTTP(w, r)
	return w.Code
}

// What changes something needs the token of the session, whatever the role.
func TestWritesNeedTheToken(t *testing.T) {
	c := guarded(t, withRoles(t))
	name := c.door.sessions.begin("eve", c.door.now())
	s, _ := c.door.sessions.get(name, c.door.now())
	ask := func(method, path, token, site string) int {
		r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader("{}"))
		r.AddCookie(&http.Cookie{Name: cookieName, Value: name})
		r.Header.Set(csrfHeader, token)
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		if w.Code == http.StatusForbidden {
			if strings.Contains(w.Body.String(), "token") {
				return 1
			}
			if strings.Contains(w.Body.String(), "role") {
				return 2
			}
		}
		return w.Code
	}
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodPatch} {
		if got := ask(method, "/api/v1/exclusions", "", "same-origin"); got != 1 {
			t.Errorf("%s without a token: %d", method, got)
		}
		if got := ask(method, "/api/v1/exclusions", s.csrf+"x", "same-origin"); got != 1 {
			t.Errorf("%s with a wrong token: %d", method, got)
		}
	}
	if got := ask(http.MethodPost, "/api/v1/exclusions", s.csrf, "cross-site"); got != http.StatusForbidden {
		t.Errorf("from another site: %d", got)
	}
	if got := ask(http.MethodPost, "/api/v1/exclusions", s.csrf, "same-origin"); got != 2 {
		t.Errorf("a viewer with a token: %d", got)
	}
	if got := ask(http.MethodGet, "/", "", "none"); got != http.StatusOK {
		t.Errorf("the page: %d", got)
	}
}

func TestUsers(t *testing.T) {
	cfg := withRoles(t)
	good := cfg.Users[0].PasswordHash
	for name, users := range map[string][]User{
		"no name": {{PasswordHash: good, Role: "viewer"}}, "admin twice": {{Name: "admin", PasswordHash: good, Role: "viewer"}}, "colon": {{Name: "a:b", PasswordHash: good, Role: "viewer"}},
		"no role": {{Name: "a", PasswordHash: good}}, "odd role": {{Name: "a", PasswordHash: good, Role: "root"}}, "no hash": {{Name: "a", Role: "viewer"}},
		"twice": {{Name: "a", PasswordHash: good, Role: "viewer"}, {Name: "a", PasswordHash: good, Role: "admin"}},
	} {
		if err := (Config{Listen: "127.0.0.1:0", Users: users}).Validate(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := (Config{Listen: "0.0.0.0:0", Users: cfg.Users}).Validate(); err != nil {
		t.Errorf("users without admin: %v", err)
	}
	c := guarded(t, cfg)
	r := httptest.NewRequest(http.MethodGet, "http://localhost/api/openapi.json", nil)
	r.SetBasicAuth("ann", goodPassword)
	if resp := send(c, r); resp.StatusCode != http.StatusOK {
		t.Errorf("ann: %d", resp.StatusCode)
	}
	r.SetBasicAuth("bob", goodPassword)
	if resp := send(c, r); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("bob: %d", resp.StatusCode)
	}
}

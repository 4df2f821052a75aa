package console

import (
	"context"
	"crypto/subtle"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// Role is what a user may do; each includes those before it.
type Role string

const (
	Viewer  Role = "viewer"  // reads
	Analyst Role = "analyst" // judges incidents, excludes, sweeps history
	Admin   Role = "admin"   // sees the audit log
)

// rank orders roles from 1; 0 for what is none.
func (r Role) rank() int { return slices.Index([]Role{Viewer, Analyst, Admin}, r) + 1 }

// User is somebody besides admin who may log in.
type User struct {
	Name         string        `conf:"name" help:"what is logged in with, and stands in the audit log"`
	PasswordHash config.Secret `conf:"password_hash" help:"Argon2id hash, as analyzer hash-password prints it; file:PATH and env:NAME are resolved"`
	Role         string        `conf:"role" help:"viewer: reads; analyst: judges incidents, excludes and sweeps, too; admin: sees the audit log, too"`
}

func checkUsers(users []User) error {
	seen := map[string]bool{user: true}
	for i, u := range users {
		switch {
		case u.Name == "" || len(u.Name) > 64 || strings.ContainsAny(u.Name, ":\x00\r\n"):
			return fmt.Errorf("console users[%d].name: %q is no name", i, u.Name)
		case seen[u.Name]:
			return kit.Hint(fmt.Errorf("console users[%d].name: %q is there twice", i, u.Name), "admin is the user of console.password_hash")
		case Role(u.Role).rank() == 0:
			return fmt.Errorf("console users[%d].role: %q is none of viewer, analyst and admin", i, u.Role)
		}
		if _, err := parseHash(u.PasswordHash.Reveal()); err != nil {
			return kit.Hint(fmt.Errorf("console users[%d].password_hash: %w", i, err), "make one with `analyzer hash-password`")
		}
		seen[u.Name] = true
	}
	return nil
}

// account is somebody who can log in.
type account struct {
	hash hash
	role Role
}

func accountsOf(cfg Config) (map[string]account, error) {
	all := map[string]account{}
	if cfg.PasswordHash != "" {
		h, err := parseHash(cfg.PasswordHash.Reveal())
		if err != nil {
			return nil, err
		}
		all[user] = account{h, Admin}
	}
	for _, u := range cfg.Users {
		h, err := parseHash(u.PasswordHash.Reveal())
		if err != nil {
			return nil, err
		}
		all[u.Name] = account{h, Role(u.Role)}
	}
	return all, nil
}

// identity is who a request comes from.
type identity struct {
	name string
	role Role
	csrf string // of the session, empty: there is none
}

// nobodyElse is who asks where there is no password: whoever has this machine.
var nobodyElse = identity{name: "local", role: Admin}

type identityKey struct{}

func (i identity) in(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, i))
}

// whoIs returns who a request comes from; of one that came past the door, nobody
// with no role.
func whoIs(ctx context.Context) identity {
	i, _ := ctx.Value(identityKey{}).(identity)
	return i
}

// csrfHeader carries the token of the session with what changes something.
const csrfHeader = "X-CSRF-Token"

// safe says whether a request only reads.
func safe(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}

// meant says whether a request was made by the page that a session got, and not by
// another on its behalf. Scripts send a password in place of a session.
func (i identity) meant(r *http.Request) bool {
	return safe(r) || i.csrf == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(i.csrf)) == 1
}

// router is a ServeMux that lets nobody through to a route that says no role.
type router struct {
	mux     *http.ServeMux
	roles   map[string]Role // by pattern, which each route must have
	refused func()
}

func newRouter(refused func()) *router {
	return &router{mux: http.NewServeMux(), roles: map[string]Role{}, refused: refused}
}

// allow says which role a pattern needs at least.
func (r *router) allow(role Role, patterns ...string) {
	for _, p := range patterns {
		r.roles[p] = role
	}
}

// HandleFunc adds a route. One that allow has not named stays shut.
func (r *router) HandleFunc(pattern string, f func(http.ResponseWriter, *http.Request)) {
	if _, named := r.roles[pattern]; !named {
		r.roles[pattern] = ""
	}
	r.mux.HandleFunc(pattern, f)
}

// patterns are all routes, in order.
func (r *router) patterns() []string { return slices.Sorted(maps.Keys(r.roles)) }

func (r *router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, pattern := r.mux.Handler(req)
	role, known := r.roles[pattern]
	if who := whoIs(req.Context()); known && !open(req.URL.Path) && (role.rank() == 0 || who.role.rank() < role.rank()) {
		r.refused()
		problem(w, http.StatusForbidden, fmt.Sprintf("this needs the role %s, and %s has the role %s", role, who.name, who.role))
		return
	}
	r.mux.ServeHTTP(w, req)
}

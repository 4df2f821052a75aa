package console

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// door decides who gets in. Everything is shut unless it says otherwise: with a
// password only the login page and its style are open; without one only
// requests to this machine by a name of this machine (so that a web site whose
// name points here gets nothing, DNS rebinding).
type door struct {
	password bool
	accounts map[string]account
	secure   bool // cookies over TLS only
	log      *slog.Logger
	metrics  *metrics
	now      func() time.Time
	form     *template.Template // the login page

	sessions sessions
	lock     lockout
	checks   chan struct{} // a check takes 64 MiB
	key      [32]byte      // of this process, for good
	known    knownPasswords
}

// user is the one of Config.PasswordHash.
const user = "admin"

const cookieName = "tapwatch_session"

func newDoor(cfg Config, log *slog.Logger, m *metrics) (*door, error) {
	d := &door{log: log, metrics: m, now: time.Now, secure: cfg.TLSCert != "", checks: make(chan struct{}, 2)}
	rand.Read(d.key[:])
	var err error
	if d.accounts, err = accountsOf(cfg); err != nil || len(d.accounts) == 0 {
		return d, err
	}
	if d.form, err = template.ParseFS(assets, "assets/login.html"); err != nil {
		return nil, fmt.Errorf("parse login page: %w", err)
	}
	d.password = true
	return d, nil
}

// open are the paths that need no session.
func open(path string) bool {
	return path == "/login" || path == "/assets/style.css" || path == "/favicon.ico"
}

// guard puts the door before h.
func (d *door) guard(h http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	inside := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.password {
			if !d.local(r.Host) {
				d.metrics.refused.WithLabelValues("host").Inc()
				problem(w, http.StatusMisdirectedRequest, "without a password the console answers only to localhost and loopback addresses, not to "+layoutSafe(r.Host))
				return
			}
			h.ServeHTTP(w, nobodyElse.in(r))
			return
		}
		switch {
		case r.URL.Path == "/login":
			d.login(w, r)
		case r.URL.Path == "/logout":
			d.logout(w, r)
		case open(r.URL.Path):
			h.ServeHTTP(w, r)
		default:
			who, ok := d.admitted(w, r)
			if !ok {
				return
			}
			if !who.meant(r) {
				d.metrics.refused.WithLabelValues("csrf").Inc()
				problem(w, http.StatusForbidden, "the request has no valid token: reload the page")
				return
			}
			h.ServeHTTP(w, who.in(r))
		}
	})
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.metrics.refused.WithLabelValues("cross_origin").Inc()
		problem(w, http.StatusForbidden, "the request comes from another site")
	}))
	checked := cross.Handler(inside)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Cache-Control", "no-store")
		if d.secure {
			head.Set("Strict-Transport-Security", "max-age=31536000")
		}
		r.Body = http.MaxBytesReader(w, r.Body, largest(r))
		checked.ServeHTTP(w, r)
	})
}

// local says whether a Host header names this machine.
func (d *door) local(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return loopback(strings.ToLower(strings.Trim(name, "[]")))
}

// admitted says whether a request has a session or the password itself (HTTP
// Basic, for scripts); if not, it has been answered.
func (d *door) admitted(w http.ResponseWriter, r *http.Request) (identity, bool) {
	if s, ok := d.session(r); ok {
		return identity{s.user, d.accounts[s.user].role, s.csrf}, true
	}
	if name, password, ok := r.BasicAuth(); ok {
		wait, good := d.check(r, name, password)
		if good {
			return identity{name: name, role: d.accounts[name].role}, true
		}
		if wait > 0 {
			d.locked(w, wait)
			return identity{}, false
		}
	}
	d.metrics.refused.WithLabelValues("no_session").Inc()
	if r.Method == http.MethodGet && r.URL.Path == "/" {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return identity{}, false
	}
	// No WWW-Authenticate for the page's own requests: a browser would ask for
	// the password in a box of its own.
	if r.Header.Get("Sec-Fetch-Mode") == "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="tapwatch", charset="UTF-8"`)
	}
	problem(w, http.StatusUnauthorized, "log in at /login, or send user and password (HTTP Basic)")
	return identity{}, false
}

func (d *door) locked(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", seconds(wait))
	problem(w, http.StatusTooManyRequests, "too many wrong passwords from this address: try again in "+seconds(wait)+" s")
}

// check verifies a name and a password, or says how long the address has to wait.
func (d *door) check(r *http.Request, name, password string) (wait time.Duration, good bool) {
	from := remote(r)
	now := d.now()
	if wait := d.lock.wait(from, now); wait > 0 {
		d.metrics.logins.WithLabelValues("locked").Inc()
		return wait, false
	}
	mac := hmac.New(sha256.New, d.key[:])
	mac.Write([]byte(name + "\x00" + password))
	sum := [32]byte(mac.Sum(nil))
	if d.known.is(name, sum) {
		return 0, true
	}
	// The failure is written down before the slow check, so that many at once
	// do not all get their turn; a good one wipes it out.
	wait = d.lock.fail(from, now)
	select {
	case d.checks <- struct{}{}:
		defer func() { <-d.checks }()
	case <-r.Context().Done():
		return 0, false
	}
	// Whoever it is, a check takes as long.
	a, known := d.accounts[name]
	if !known {
		for _, a = range d.accounts {
			break
		}
	}
	good = len(password) <= maxPassword && a.hash.match(password) && known
	if !good {
		d.metrics.logins.WithLabelValues("wrong").Inc()
		d.log.Warn("wrong password for the console", "from", from)
		return wait, false
	}
	d.metrics.logins.WithLabelValues("good").Inc()
	d.lock.forgive(from)
	d.known.set(name, sum)
	return 0, true
}

// largest is how long the body of a request may be, in octets.
func largest(r *http.Request) int64 {
	if r.Method == http.MethodPost && r.URL.Path == "/api/v1/sweeps" {
		return maxListBody
	}
	return 16 << 10
}

// remote is the address a request came from; of IPv6 its /64, which one machine
// has whole.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return host
}

func (d *door) session(r *http.Request) (session, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return session{}, false
	}
	return d.sessions.get(c.Value, d.now())
}

func (d *door) login(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if _, ok := d.session(r); ok {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		d.loginPage(w, http.StatusOK, "")
	case http.MethodPost:
		if !d.csrf(r.PostFormValue("csrf")) {
			d.metrics.refused.WithLabelValues("csrf").Inc()
			d.loginPage(w, http.StatusForbidden, "The form was too old. Please try again.")
			return
		}
		wait, good := d.check(r, r.PostFormValue("user"), r.PostFormValue("password"))
		if !good {
			if wait > 0 {
				w.Header().Set("Retry-After", seconds(wait))
				d.loginPage(w, http.StatusTooManyRequests, "Too many wrong passwords. Try again in "+seconds(wait)+" s.")
				return
			}
			d.loginPage(w, http.StatusUnauthorized, "The user or the password is wrong.")
			return
		}
		if c, err := r.Cookie(cookieName); err == nil {
			d.sessions.end(c.Value)
		}
		http.SetCookie(w, d.cookie(d.sessions.begin(r.PostFormValue("user"), d.now()), int(sessionLength/time.Second)))
		http.Redirect(w, r, "/", http.StatusSeeOther)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		problem(w, http.StatusMethodNotAllowed, "use GET or POST")
	}
}

func (d *door) logout(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		problem(w, http.StatusMethodNotAllowed, "use POST")
		return
	}
	s, ok := d.session(r)
	if ok && subtle.ConstantTimeCompare([]byte(s.csrf), []byte(r.PostFormValue("csrf"))) != 1 {
		d.metrics.refused.WithLabelValues("csrf").Inc()
		problem(w, http.StatusForbidden, "the form has no valid token: reload the page")
		return
	}
	if c, err := r.Cookie(cookieName); err == nil {
		d.sessions.end(c.Value)
	}
	http.SetCookie(w, d.cookie("", -1))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (d *door) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: d.secure, SameSite: http.SameSiteStrictMode}
}

// formLife is how long a login form can be sent.
const formLife = 2 * time.Hour

// token is for the login form, which has no session yet: the time, signed with
// the key of this process.
func (d *door) token() string {
	at := d.now().UTC().Format(time.RFC3339)
	mac := hmac.New(sha256.New, d.key[:])
	mac.Write([]byte("login form " + at))
	return at + "." + hex.EncodeToString(mac.Sum(nil))
}

func (d *door) csrf(token string) bool {
	at, sum, _ := strings.Cut(token, ".")
	mac := hmac.New(sha256.New, d.key[:])
	mac.Write([]byte("login form " + at))
	if !hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(sum)) {
		return false
	}
	t, err := time.Parse(time.RFC3339, at)
	return err == nil && d.now().Sub(t) < formLife
}

// problem answers with problem details (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

package respond

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit/config"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

var inside = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

// program writes a shell script that notes how it was called, and what it can see
// of the environment; while the file "broken" is beside it, it fails.
func program(t *testing.T) (path, calls string) {
	t.Helper()
	dir := t.TempDir()
	path, calls = filepath.Join(dir, "hook"), filepath.Join(dir, "calls")
	text := "#!/bin/sh\necho \"$@|$SECRET$HOME\" >> " + calls + "\nif [ -e " + dir + "/broken ]; then echo no such switch; exit 3; fi\nprintf 'done\\033[31m\\n'\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, calls
}

func callsOf(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func withProgram(path string) Config {
	cfg := DefaultConfig()
	cfg.Enabled, cfg.Executables = true, []string{path}
	for _, kind := range []string{Isolate, Block} {
		cfg.Hooks = append(cfg.Hooks, Hook{Name: "switch-" + kind, Kind: kind, Command: []string{path, "add", kind, "{target}", "; rm -rf $HOME"}, Undo: []string{path, "del", "{target}", "{action}"}})
	}
	return cfg
}

func responder(t *testing.T, cfg Config, conn driver.Conn) *Responder {
	t.Helper()
	r, err := New(cfg, conn, inside, nil, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.own = func(context.Context) ([]owned, error) {
		return []owned{{netip.MustParsePrefix("10.0.0.5/32"), "an address of the analyzer itself"}}, nil
	}
	return r
}

func (r *Responder) ask(t *testing.T, a Ask) Action {
	t.Helper()
	if a.Why == "" {
		a.Why = "test"
	}
	got, err := r.store.Request(t.Context(), "anna", a)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (r *Responder) pass(t *testing.T, now time.Time) error {
	t.Helper()
	return r.Pass(t.Context(), now)
}

func (r *Responder) expect(t *testing.T, id string, want State, note string) Action {
	t.Helper()
	a, err := r.store.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if a.State != want || !strings.Contains(a.Note, note) {
		t.Fatalf("%s %s is %s (%s), want %s (%s)", a.Kind, a.Target, a.State, a.Note, want, note)
	}
	return a
}

// From the request to the undoing, with a restart in between; all of it in the
// audit log.
func TestLife(t *testing.T) {
	conn := localtest.Tables(t)
	t.Setenv("SECRET", "canary")
	path, calls := program(t)
	now := time.Now()

	dry := withProgram(path)
	dry.Enabled = false
	r := responder(t, dry, conn)
	a := r.ask(t, Ask{Kind: Isolate, Target: "10.0.0.23"})
	if err := r.pass(t, now); err != nil {
		t.Fatal(err)
	}
	r.expect(t, a.ID, DryRun, "would run")
	if got := callsOf(t, calls); got != nil {
		t.Fatalf("a dry run has called %q", got)
	}

	r = responder(t, withProgram(path), conn)
	a = r.ask(t, Ask{Kind: Isolate, Target: "::ffff:10.0.0.23", For: 2 * time.Hour})
	b := r.ask(t, Ask{Kind: Block, Target: "203.0.114.7/24"})
	if err := r.pass(t, now); err != nil {
		t.Fatal(err)
	}
	got := r.expect(t, a.ID, Active, "done [31m")
	if d := got.Expires.Sub(now); d < 2*time.Hour-time.Second || d > 2*time.Hour+time.Second {
		t.Errorf("expires in %v", d)
	}
	want := []string{"add isolate 10.0.0.23 ; rm -rf $HOME|", "add block 203.0.114.0/24 ; rm -rf $HOME|"}
	if got := callsOf(t, calls); !slices.Equal(got, want) {
		t.Fatalf("calls (-got +want)\n-%q\n+%q", got, want)
	}

	// After a restart, disabled meanwhile: what is in force ends all the same.
	r = responder(t, dry, conn)
	if err := r.pass(t, now.Add(90*time.Minute)); err != nil {
		t.Fatal(err)
	}
	r.expect(t, a.ID, Active, "")
	r.expect(t, b.ID, Undone, "expired")
	if _, err := r.store.Undo(t.Context(), "ben", a.ID, "cleaned"); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(filepath.Dir(path), "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.pass(t, now.Add(91*time.Minute)); err == nil {
		t.Error("an undo that fails is not told")
	}
	r.expect(t, a.ID, Undoing, "cleaned")
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := r.pass(t, now.Add(93*time.Minute)); err != nil {
		t.Fatal(err)
	}
	r.expect(t, a.ID, Undone, "cleaned")
	n := len(callsOf(t, calls))
	if err := r.pass(t, now.Add(240*time.Hour)); err != nil || len(callsOf(t, calls)) != n {
		t.Errorf("something was called again: %v", err)
	}
	if _, err := r.store.Undo(t.Context(), "ben", a.ID, "again"); !errors.Is(err, ErrState) {
		t.Errorf("undo twice: %v", err)
	}
	if _, err := r.store.Undo(t.Context(), "ben", "none", ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("undo nothing: %v", err)
	}

	// What fails is undone; the process that died between is repeated.
	r = responder(t, withProgram(path), conn)
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := r.ask(t, Ask{Kind: Block, Target: "198.51.101.1"})
	_ = r.pass(t, now)
	r.expect(t, c.ID, UndoAsked, "no such switch")
	_ = os.Remove(broken)
	if err := r.pass(t, now); err != nil {
		t.Fatal(err)
	}
	r.expect(t, c.ID, Undone, "failed")
	d := r.ask(t, Ask{Kind: Block, Target: "198.51.101.2"})
	d.Step, d.State, d.Attempts, d.Expires, d.For = 2, Applying, 1, now.Add(time.Hour).UTC().Truncate(time.Millisecond), time.Hour
	if _, err := r.store.add(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := r.pass(t, now); err != nil {
		t.Fatal(err)
	}
	r.expect(t, d.ID, Active, "done")

	entries, err := r.store.Audit().List(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	count, _, err := r.store.Audit().Verify(t.Context())
	if err != nil || int(count) != len(entries) {
		t.Fatalf("audit log: %d of %d, %v", count, len(entries), err)
	}
	var story []string
	for _, e := range entries {
		if e.Object == a.ID {
			story = append(story, e.Who+" "+e.Action)
		}
	}
	wantStory := []string{"anna respond.requested", "system respond.applying", "system respond.active", "ben respond.undo_requested", "system respond.undoing", "system respond.undoing", "system respond.undone"}
	if !slices.Equal(story, wantStory) {
		t.Errorf("audit log (-got +want)\n-%q\n+%q", story, wantStory)
	}
}

func TestRefused(t *testing.T) {
	conn := localtest.Tables(t)
	path, calls := program(t)
	localtest.Exec(t, conn, "INSERT INTO networks (prefix, name, role) VALUES ('10.9.0.0/24', 'dns', 'Resolver'), ('::ffff:10.9.1.0/120', 'gw', 'gateway'), ('10.9.2.0/24', 'office', '')")
	cfg := withProgram(path)
	cfg.Protected = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("10.1.0.0/16")}
	cfg.MaxPerHour = 2
	r := responder(t, cfg, conn)
	now := time.Now()
	type try struct{ kind, target, why string }
	tries := []try{
		{Isolate, "10.1.2.3", "respond.protected"},
		{Block, "203.0.113.0/24", "respond.protected"},
		{Block, "203.0.113.5", "respond.protected"},
		{Isolate, "10.0.0.5", "analyzer itself"},
		{Isolate, "10.9.0.9", "role"},
		{Isolate, "10.9.1.9", "role"},
		{Isolate, "8.8.8.8", "no network of our own"},
		{Block, "10.2.0.0/24", "our own"},
		{Block, "8.0.0.0/8", "larger"},
		{Block, "2a00::/32", "larger"},
		{Block, "0.0.0.0/0", "nobody"},
		{Block, "::/0", "nobody"},
		{Block, "127.0.0.1", "nobody"},
		{Block, "::1", "nobody"},
		{Block, "224.0.0.251", "nobody"},
		{Isolate, "fe80::1", "nobody"},
	}
	var ids []string
	for _, tt := range tries {
		ids = append(ids, r.ask(t, Ask{Kind: tt.kind, Target: tt.target}).ID)
	}
	long := r.ask(t, Ask{Kind: Block, Target: "8.8.8.8", For: 48 * time.Hour})
	hook := r.ask(t, Ask{Kind: Block, Target: "8.8.8.8", Hook: "other"})
	if err := r.pass(t, now); err != nil {
		t.Fatal(err)
	}
	for i, tt := range tries {
		r.expect(t, ids[i], Refused, tt.why)
	}
	r.expect(t, long.ID, Refused, "max_for")
	r.expect(t, hook.ID, Refused, "no hook other")
	if got := callsOf(t, calls); got != nil {
		t.Fatalf("what is refused was called: %q", got)
	}
	for _, a := range []Ask{{Kind: "shell", Target: "8.8.8.8", Why: "x"}, {Kind: Isolate, Target: "10.0.0.0/24", Why: "x"}, {Kind: Block, Target: "example.org", Why: "x"}, {Kind: Block, Target: "8.8.8.8 ", Why: "x"},
		{Kind: Isolate, Target: "fe80::1%eth0", Why: "x"}, {Kind: Block, Target: "8.8.8.8"}} {
		if got, err := r.store.Request(t.Context(), "anna", a); err == nil {
			t.Errorf("%+v was taken: %+v", a, got)
		}
	}
	ids = nil
	for _, target := range []string{"9.9.9.1", "9.9.9.2", "9.9.9.3"} {
		ids = append(ids, r.ask(t, Ask{Kind: Block, Target: target}).ID)
	}
	if err := r.pass(t, now); err != nil {
		t.Fatal(err)
	}
	r.expect(t, ids[1], Active, "")
	r.expect(t, ids[2], Refused, "max_per_hour")
	// What is not known is not done.
	r.own = func(context.Context) ([]owned, error) { return nil, errors.New("no answer") }
	a := r.ask(t, Ask{Kind: Block, Target: "9.9.9.9"})
	if err := r.pass(t, now.Add(2*time.Hour)); err == nil {
		t.Error("trouble with the guard is not told")
	}
	r.expect(t, a.ID, Requested, "")
}

// Rules act once on each alert that they fit, and on no other.
func TestRules(t *testing.T) {
	conn := localtest.Tables(t)
	var orders []Order
	var signed string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var o Order
		body, _ := io.ReadAll(q.Body)
		if err := json.Unmarshal(body, &o); err != nil {
			t.Error(err)
		}
		orders, signed = append(orders, o), q.Header.Get("X-Tapwatch-Signed")
	}))
	defer server.Close()
	u, _ := url.Parse(server.URL)
	cfg := DefaultConfig()
	cfg.Enabled, cfg.Hosts = true, []string{u.Hostname()}
	cfg.Hooks = []Hook{{Name: "fw", Kind: Block, URL: config.Secret(server.URL + "/secret-path"), Secret: "s", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	cfg.Rules = []Rule{{Name: "guess", Detectors: []string{"brute_force"}, Kind: Block}}
	r := responder(t, cfg, conn)
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	make := func(detector, actor string, severity alert.Severity) alert.Alert {
		return alert.Alert{Detector: detector, Version: 1, Title: "guesses\nat 10.0.0.1", Severity: severity, Actor: actor, Victim: "10.0.0.1", Entities: []string{"actor=" + actor}, Start: at, End: at.Add(time.Minute),
			WindowStart: at, WindowEnd: at.Add(10 * time.Minute)}
	}
	if _, err := alert.NewStore(conn).Raise(t.Context(), []alert.Alert{make("brute_force", "198.51.101.7", alert.High), make("brute_force", "198.51.101.8", alert.Medium), make("beacon", "198.51.101.9", alert.Critical),
		make("brute_force", "evil.example", alert.High), make("brute_force", "10.0.0.77", alert.High)}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.pass(t, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if len(orders) != 1 || orders[0].Target != "198.51.101.7" || orders[0].Action != "apply" || orders[0].Why != "alert: guesses at 10.0.0.1" || orders[0].Alert == "" {
		t.Fatalf("orders: %+v", orders)
	}
	if !strings.HasPrefix(signed, "t=") {
		t.Errorf("signature %q", signed)
	}
	list, err := r.store.List(t.Context(), 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	server.Close()
	if err := r.pass(t, time.Now().Add(3*time.Hour)); err == nil || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("error of the hook: %v", err)
	}
}

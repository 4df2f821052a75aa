package notify

import (
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// plainText is the plain part of a mail.
func plainText(t *testing.T, m *mail.Message) string {
	t.Helper()
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := multipart.NewReader(m.Body, params["boundary"]).NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(p))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// What is low comes once a day, what is high by itself; a day that could not be
// sent is sent later, each once.
func TestDigest(t *testing.T) {
	conn, _ := connect(t, "notify_digest")
	full, server := &mailServer{replies: map[string]string{"END": "452 full"}}, &mailServer{}
	port := full.start(t)
	cfg := DefaultConfig()
	cfg.ConsoleURL = "https://tapwatch.example"
	cfg.Email = []Email{{Name: "duty", Host: "127.0.0.1", Port: port, Security: securityNone, From: "a@example.org", To: []string{"b@example.org"}, MinSeverity: alert.Info, Digest: "daily", DigestHour: 7, TimeZone: "Europe/Vienna"}}
	fresh := func() *Notifier {
		n, err := New(cfg, conn, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	raise(t, conn, 0, 30, alert.Info, 1)
	raise(t, conn, 30, 32, alert.Low, 1)
	raise(t, conn, 40, 41, alert.High, 1)
	n := fresh()
	d := n.digests[0]
	if n.sinks[0].from() != alert.Medium.Rank() || len(d.severities) != 2 {
		t.Fatalf("from %d, %v", n.sinks[0].from(), d.severities)
	}
	// All was raised today; the end of today's period is up to a day away.
	end := d.following(d.boundary(time.Now()))
	count := func() int {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.mails)
	}
	if err := d.pass(t.Context(), time.Now()); err != nil || count() != 0 {
		t.Fatalf("before the end: %d mails, %v", count(), err)
	}
	if err := d.pass(t.Context(), end.Add(3*time.Minute)); err == nil {
		t.Error("the server has refused, and no error")
	}
	cfg.Email[0].Port = server.start(t)
	d = fresh().digests[0] // a restart
	for range 2 {
		if err := d.pass(t.Context(), end.Add(30*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if count() != 1 { // the second day had nothing
		t.Fatalf("%d mails", count())
	}
	m, err := mail.ReadMessage(strings.NewReader(server.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	text := plainText(t, m)
	if !strings.Contains(text, "32 alerts") || !strings.Contains(text, "portscan_vertical (info): 30 alerts") || !strings.Contains(text, "low  scan 31") || strings.Contains(text, "scan 40") || !strings.Contains(text, "https://tapwatch.example/") {
		t.Errorf("%s", text)
	}
	if id := m.Header.Get("Message-Id"); id != "<digest-"+end.UTC().Format("20060102T150405Z")+".duty@example.org>" {
		t.Error(id)
	}
	if l := end.In(d.loc); l.Hour() != 7 || l.Minute() != 0 {
		t.Errorf("the period ends at %v", l)
	}
}

func TestDigestConfig(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Email)
		want   string
	}{
		{"fine", func(e *Email) { e.Digest = "hourly" }, ""},
		{"unknown", func(e *Email) { e.Digest = "weekly" }, "unknown"},
		{"hour without digest", func(e *Email) { e.DigestHour = 7 }, "there is none"},
		{"hour of an hour", func(e *Email) { e.Digest, e.DigestHour = "hourly", 7 }, "no hour"},
		{"zone", func(e *Email) { e.Digest, e.TimeZone = "daily", "Mars" }, "unknown"},
		{"empty", func(e *Email) { e.Digest, e.MinSeverity = "daily", alert.High }, "would be empty"},
		{"severity", func(e *Email) { e.Digest, e.DigestUpTo = "daily", "loud" }, "not a severity"},
	} {
		cfg := DefaultConfig()
		e := Email{Name: "x", Host: "127.0.0.1", Security: securityNone, From: "a@example.org", To: []string{"b@example.org"}}
		tt.change(&e)
		cfg.Email = []Email{e}
		if err := cfg.Check(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

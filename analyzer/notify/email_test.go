package notify

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// authority writes a certificate for 127.0.0.1, which is its own authority, and
// returns it for a server with the path for a client.
func authority(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{netip.MustParseAddr("127.0.0.1").AsSlice()}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// mailServer speaks the SMTP of RFC 5321 with STARTTLS and AUTH PLAIN.
type mailServer struct {
	cert     *tls.Certificate
	implicit bool              // TLS from the start
	password string            // empty: no login needed
	replies  map[string]string // instead of the good one, by command
	hangUp   string            // after the reply to this command
	endless  bool              // greets without end

	mu    sync.Mutex
	mails []string
	rcpts []string
	plain bool // a login came in the clear
}

func (s *mailServer) start(t *testing.T) (port uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	t.Cleanup(func() { l.Close(); g.Wait() })
	g.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.Go(func() { defer conn.Close(); s.serve(conn) })
		}
	})
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func (s *mailServer) serve(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	secure := s.implicit
	if s.implicit {
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.cert}})
	}
	if s.endless {
		for {
			if _, err := conn.Write([]byte(strings.Repeat("2", 4096))); err != nil {
				return
			}
		}
	}
	in := bufio.NewReader(conn)
	say := func(verb, text string) bool {
		if other := s.replies[verb]; other != "" {
			text = other
		}
		_, err := io.WriteString(conn, text+"\r\n")
		return err == nil && s.hangUp != verb
	}
	if !say("GREET", "220 mail.example ESMTP") {
		return
	}
	for {
		l, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(l, "\r\n"), " ")
		good := true
		switch verb = strings.ToUpper(verb); verb {
		case "EHLO":
			text := "250-mail.example\r\n250-8BITMIME"
			if s.cert != nil && !secure {
				text += "\r\n250-STARTTLS"
			}
			if s.password != "" {
				text += "\r\n250-AUTH PLAIN"
			}
			good = say(verb, text+"\r\n250 HELP")
		case "STARTTLS":
			if good = say(verb, "220 go on"); good {
				conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.cert}})
				in = bufio.NewReader(conn)
				secure = true
			}
		case "AUTH":
			s.mu.Lock()
			s.plain = s.plain || !secure
			s.mu.Unlock()
			_, response, _ := strings.Cut(rest, " ")
			raw, _ := base64.StdEncoding.DecodeString(response)
			if string(raw) == "\x00tapwatch\x00"+s.password {
				good = say(verb, "235 welcome")
			} else {
				good = say(verb, "535 not "+string(raw[1:])) // rude enough to repeat it
			}
		case "RCPT":
			s.mu.Lock()
			s.rcpts = append(s.rcpts, rest)
			s.mu.Unlock()
			good = say(verb, "250 OK")
		case "DATA":
			if !say(verb, "354 go on") {
				return
			}
			if s.replies[verb] != "" {
				continue
			}
			var text strings.Builder
			for {
				l, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(l, "."))
			}
			if s.replies["END"] == "" {
				s.mu.Lock()
				s.mails = append(s.mails, text.String())
				s.mu.Unlock()
			}
			good = say("END", "250 queued")
		case "QUIT":
			say(verb, "221 bye")
			return
		default:
			good = say(verb, "250 OK")
		}
		if !good {
			return
		}
	}
}

func TestEmail(t *testing.T) {
	cert, ca := authority(t)
	secure := kit.TLS{Enabled: true, CA: ca}
	login := func(e Email) Email { e.Username, e.Password = "tapwatch", "hunter2"; return e }
	for _, tt := range []struct {
		name    string
		server  *mailServer
		email   Email
		ok      bool
		refused bool
		sent    int
	}{
		{"plain", &mailServer{}, Email{Security: "none"}, true, false, 1},
		{"starttls", &mailServer{cert: &cert, password: "hunter2"}, login(Email{TLS: secure}), true, false, 1},
		{"tls", &mailServer{cert: &cert, implicit: true, password: "hunter2"}, login(Email{Security: "tls", TLS: secure}), true, false, 1},
		{"starttls is not optional", &mailServer{password: "hunter2"}, login(Email{TLS: secure}), false, false, 0},
		{"unknown authority", &mailServer{cert: &cert}, Email{}, false, false, 0},
		{"unknown authority, tls", &mailServer{cert: &cert, implicit: true}, Email{Security: "tls"}, false, false, 0},
		{"wrong password", &mailServer{cert: &cert, password: "other"}, login(Email{TLS: secure}), false, false, 0},
		{"recipient later", &mailServer{replies: map[string]string{"RCPT": "450 later"}}, Email{Security: "none"}, false, false, 0},
		{"recipient never", &mailServer{replies: map[string]string{"RCPT": "550 no such user"}}, Email{Security: "none"}, false, true, 0},
		{"full", &mailServer{replies: map[string]string{"END": "452 full"}}, Email{Security: "none"}, false, false, 0},
		{"spam", &mailServer{replies: map[string]string{"END": "554 spam"}}, Email{Security: "none"}, false, true, 0},
		{"not now", &mailServer{replies: map[string]string{"GREET": "421 busy"}}, Email{Security: "none"}, false, false, 0},
		{"hangs up once it is queued", &mailServer{hangUp: "END"}, Email{Security: "none"}, true, false, 1},
		{"hangs up before", &mailServer{hangUp: "DATA"}, Email{Security: "none"}, false, false, 0},
		{"endless greeting", &mailServer{endless: true}, Email{Security: "none"}, false, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.email
			e.Name, e.Host, e.Port, e.From, e.To = "soc", "127.0.0.1", tt.server.start(t), "tapwatch@example.org", []string{"soc@example.org", "duty@example.org"}
			c, sender, err := DefaultConfig().email("notify.email[0]", e)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			m := sample()
			m.Title = hostile
			err = sender.send(ctx, m)
			if (err == nil) != tt.ok || err != nil && asRefusal(err) != tt.refused {
				t.Errorf("got %v, refused %v", err, err != nil && asRefusal(err))
			}
			if err != nil && strings.Contains(errorText(err, c.secrets), "hunter2") {
				t.Errorf("the password is shown: %s", errorText(err, c.secrets))
			}
			tt.server.mu.Lock()
			defer tt.server.mu.Unlock()
			if len(tt.server.mails) != tt.sent || tt.server.plain {
				t.Fatalf("%d mails, want %d; login in the clear: %v", len(tt.server.mails), tt.sent, tt.server.plain)
			}
			if tt.sent == 0 {
				return
			}
			if len(tt.server.rcpts) != 2 {
				t.Errorf("recipients %q", tt.server.rcpts)
			}
			got, err := mail.ReadMessage(strings.NewReader(tt.server.mails[0]))
			if err != nil {
				t.Fatal(err)
			}
			if got.Header.Get("Bcc") != "" || got.Header.Get("Message-Id") != "<0011aabb-3.soc@example.org>" ||
				!strings.HasPrefix(got.Header.Get("Subject"), "[tapwatch] high: a Bcc: evil@example.org") {
				t.Errorf("header %v", got.Header)
			}
		})
	}
}

func TestEmailSlowServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody accepts: connected, and silent
	_, e, err := DefaultConfig().email("", Email{Name: "soc", Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Security: "none", From: "a@example.org", To: []string{"b@example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := e.send(ctx, sample()); err == nil || asRefusal(err) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := e.send(ctx, sample()); err == nil {
		t.Error("sent after the end")
	}
}

func TestConfigCheck(t *testing.T) {
	good := Email{Name: "soc", Host: "mail.example.org", From: "a@example.org", To: []string{"b@example.org"}}
	with := func(change func(*Config)) Config {
		cfg := DefaultConfig()
		cfg.Email = []Email{good}
		cfg.Webhooks = []Webhook{{Name: "hook", URL: "https://example.org/x"}}
		cfg.Syslog = []Syslog{{Name: "siem", Addr: "siem.example.org:6514", Network: "tls", TLS: kit.TLS{Enabled: true}}}
		change(&cfg)
		return cfg
	}
	if err := DefaultConfig().Check(); err != nil {
		t.Error(err)
	}
	if err := with(func(*Config) {}).Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"min_severity":          func(c *Config) { c.MinSeverity = "odd" },
		"interval":              func(c *Config) { c.Interval = 0 },
		"retry_max":             func(c *Config) { c.RetryMax = time.Millisecond },
		"give_up_attempts":      func(c *Config) { c.GiveUpAttempts = 0 },
		"console_url":           func(c *Config) { c.ConsoleURL = "javascript:alert(1)" },
		"also the name":         func(c *Config) { c.Webhooks[0].Name = "soc" },
		"is not a name":         func(c *Config) { c.Webhooks[0].Name = "a b" },
		"webhooks[0].url":       func(c *Config) { c.Webhooks[0].URL = "file:///etc/passwd" },
		"per_minute":            func(c *Config) { c.Syslog[0].PerMinute = -1 },
		"timeout":               func(c *Config) { c.Syslog[0].Timeout = time.Hour },
		"syslog[0].addr":        func(c *Config) { c.Syslog[0].Addr = "siem" },
		"network":               func(c *Config) { c.Syslog[0].Network = "unix" },
		"but network is udp":    func(c *Config) { c.Syslog[0].Network = "udp" },
		"facility":              func(c *Config) { c.Syslog[0].Facility = "mail" },
		"sd_id":                 func(c *Config) { c.Syslog[0].SDID = "tapwatch" },
		"email[0].from":         func(c *Config) { c.Email[0].From = "a@example.org\r\nBcc: x@y.z" },
		"email[0].to":           func(c *Config) { c.Email[0].To = []string{"SOC <b@example.org>"} },
		"nobody":                func(c *Config) { c.Email[0].To = nil },
		"security":              func(c *Config) { c.Email[0].Security = "ssl" },
		"in the clear":          func(c *Config) { c.Email[0].Security, c.Email[0].Username, c.Email[0].Password = "none", "a", "b" },
		"only good together":    func(c *Config) { c.Email[0].Username = "a" },
		"email[0].host":         func(c *Config) { c.Email[0].Host = "" },
		"email[0].min_severity": func(c *Config) { c.Email[0].MinSeverity = "odd" },
	} {
		if err := with(change).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("min_severity: high\nwebhooks:\n- name: x\n  url: env:HOOK\n  allow: [10.0.0.0/8]\n  min_severity: critical\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	if err := config.Load(&cfg, config.Source{File: file, Environ: []string{"HOOK=https://example.org/token"}}); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Check(); err != nil || cfg.Webhooks[0].URL.Reveal() != "https://example.org/token" || cfg.Webhooks[0].MinSeverity != "critical" {
		t.Errorf("%v: %+v", err, cfg.Webhooks)
	}
}

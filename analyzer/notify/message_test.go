package notify

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// hostile is what a name off the wire may be like.
const hostile = "a\r\nBcc: evil@example.org\r\n\r\n<script>alert(1)</script>\x1b[2J\u202e\"]\\ \x00\xff=1+1"

func sample() *message {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	return &message{reason: ReasonNew, console: "https://tapwatch.example", Alert: alert.Alert{
		ID: "0011aabb", Revision: 3, Detector: "portscan_vertical", Version: 1, Title: "10.0.0.5 tried 900 ports of 10.0.0.9", Severity: alert.High,
		Score: 0.9, Confidence: 0.8, Magnitude: 900, Techniques: []string{"T1046"}, Actor: "10.0.0.5", Victim: "10.0.0.9",
		Entities: []string{"actor=10.0.0.5"}, Start: at, End: at.Add(time.Minute), WindowStart: at, WindowEnd: at.Add(10 * time.Minute),
		SubScores: map[string]float64{"ports": 1, "odd": math.NaN()}, Reasons: []string{"900 ports"}, EvidenceSQL: "SELECT 1", Baseline: `{"n":1}`,
		Completeness: math.NaN(), Raised: at, Updated: at}}
}

func TestPayload(t *testing.T) {
	m := sample()
	body, err := m.payload()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"schema": "tapwatch.alert/1", "key": "0011aabb-3", "reason": "new", "severity": "high", "completeness": nil,
		"score": 0.9, "start": "2026-11-22T12:00:00.123456789Z", "url": "https://tapwatch.example/?alert=0011aabb", "truncated": false} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s: got %v, want %v", name, v, want)
		}
	}
	if v := got["sub_scores"].(map[string]any)["odd"]; v != nil {
		t.Errorf("sub-score without a number: %v", v)
	}
	again, _ := sample().payload()
	if string(again) != string(body) {
		t.Error("the same message is not the same bytes")
	}
	for range 100_000 {
		m.FlowIDs = append(m.FlowIDs, "probe/1/2/3")
		m.Entities = append(m.Entities, "victim=10.0.0.1")
	}
	m.Title = strings.Repeat("é", 100_000)
	body, err = m.payload()
	if err != nil || len(body) > maxPayload || !strings.Contains(string(body), `"truncated":true`) {
		t.Errorf("large alert: %d bytes, %v", len(body), err)
	}
}

func TestErrorTextHidesSecrets(t *testing.T) {
	got := errorText(errors.New("535 wrong: hunter2 of "+hostile+strings.Repeat("x", 1000)), []string{"", "hunter2"})
	if strings.Contains(got, "hunter2") || len(got) > maxError || strings.ContainsAny(got, "\r\n\x1b\x00") || !strings.Contains(got, "***") {
		t.Errorf("got %q", got)
	}
}

func FuzzErrorText(f *testing.F) {
	for _, s := range []string{"", "535 hunter2", hostile, strings.Repeat("é", 500), "hunhunter2ter2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := errorText(errors.New(text), []string{"hunter2", ""})
		if len(got) > maxError || !utf8.ValidString(got) {
			t.Fatalf("%d bytes: %q", len(got), got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("holds %U: %q", r, got)
			}
		}
		if again := clean(got); again != got {
			t.Errorf("clean twice (-got +want)\n- %q\n+ %q", again, got)
		}
	})
}

// grammar is a message of RFC 5424, section 6, as far as we use it.
var grammar = regexp.MustCompile(`^<(\d{1,3})>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [!-~]{1,255} [!-~]{1,48} - [!-~]{1,32} ` +
	`\[tapwatch@32473( [a-z]{1,32}="(?:[^"\\\]]|\\["\\\]])*")+\]( .*)?$`)

func TestSyslogFormat(t *testing.T) {
	s := &syslog{facility: 16, Syslog: Syslog{Hostname: "ids 1", SDID: "tapwatch@32473"}}
	m := sample()
	got := string(s.format(m, maxDatagram))
	const want = `<131>1 2026-11-22T12:00:00.123Z ids1 tapwatch - portscan_vertical [tapwatch@32473 key="0011aabb-3" id="0011aabb" revision="3" reason="new" severity="high" score="0.900" actor="10.0.0.5" victim="10.0.0.9" start="2026-11-22T12:00:00.123Z" end="2026-11-22T12:01:00.123Z" techniques="T1046" url="https://tapwatch.example/?alert=0011aabb"] 10.0.0.5 tried 900 ports of 10.0.0.9`
	if got != want {
		t.Errorf("(-got +want)\n- %s\n+ %s", got, want)
	}
	for severity, level := range map[alert.Severity]int{alert.Critical: 130, alert.High: 131, alert.Medium: 132, alert.Low: 133, alert.Info: 134} {
		if p := s.priority(severity); p != level {
			t.Errorf("%s: priority %d, want %d", severity, p, level)
		}
	}
	if got := escapeParam(`a"b]c\d`); got != `a\"b\]c\\d` {
		t.Errorf("escaped to %s", got)
	}
}

func FuzzSyslogFormat(f *testing.F) {
	f.Add("10.0.0.5", "title", "detector")
	f.Add(hostile, hostile, hostile)
	f.Add(strings.Repeat(`"`, 3000), strings.Repeat("]\\", 3000), strings.Repeat("é", 3000))
	f.Add("\xed\xa0\x80", "\u2028\u2029\u0085", "")
	f.Add("0", " ", "\xf8")
	s := &syslog{facility: 23, Syslog: Syslog{Hostname: "ids", SDID: "tapwatch@32473"}}
	f.Fuzz(func(t *testing.T, name, title, detector string) {
		m := sample()
		m.ID, m.Actor, m.Victim, m.Title, m.Detector, m.Techniques = name, name, title, title, detector, []string{name, title}
		got := s.format(m, maxDatagram)
		if len(got) > maxDatagram || !utf8.Valid(got) || !grammar.Match(got) {
			t.Fatalf("%d octets, not a message of RFC 5424: %q", len(got), got)
		}
		for _, r := range string(got) {
			if !unicode.IsPrint(r) && r != '\ufeff' {
				t.Fatalf("holds %U: %q", r, got)
			}
		}
	})
}

func FuzzCompose(f *testing.F) {
	f.Add(hostile, "10.0.0.1", "reason")
	f.Add("x", hostile, hostile)
	cfg := DefaultConfig()
	_, e, err := cfg.email("", Email{Name: "soc", Host: "mail.example", From: "tapwatch@example.org", To: []string{"soc@example.org"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, title, actor, reason string) {
		m := sample()
		m.Title, m.ID, m.Detector, m.Severity, m.Actor, m.Reasons = title, title, title, alert.Severity(title), actor, []string{reason}
		msg, err := e.compose(m, m.Updated)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if _, err := msg.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(out.String(), "\r\n\r\n")
		for l := range strings.SplitSeq(head, "\r\n") {
			name, _, found := strings.Cut(l, ":")
			if l == "" || l[0] == ' ' || l[0] == '\t' {
				continue
			}
			switch name {
			case "Date", "MIME-Version", "Message-ID", "Subject", "From", "To", "References", "Auto-Submitted", "X-Tapwatch-Key", "X-Tapwatch-Severity",
				"X-Tapwatch-Detector", "Content-Type", "Content-Transfer-Encoding":
			default:
				t.Fatalf("header field %q (%v) of\n%s", name, found, head)
			}
		}
		_, html, found := strings.Cut(body, "text/html")
		if !found || strings.Contains(strings.ReplaceAll(html, "=\r\n", ""), "<script") {
			t.Fatalf("script in\n%s", html)
		}
	})
}

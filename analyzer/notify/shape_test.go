package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// hostileMessage says what a careless chat would take for its own.
func hostileMessage(text string) *message {
	m := sample()
	m.Title, m.Actor, m.Victim, m.Reasons, m.Entities = text, text, text, []string{text}, []string{"port=" + text}
	m.console = "https://tapwatch.example"
	return m
}

func texts(v any, into *[]string) {
	switch v := v.(type) {
	case string:
		*into = append(*into, v)
	case []any:
		for _, x := range v {
			texts(x, into)
		}
	case map[string]any:
		for _, x := range v {
			texts(x, into)
		}
	}
}

func FuzzShapes(f *testing.F) {
	for _, s := range []string{"scan of 10.0.0.1", "<!channel> <https://evil.example|click>", "@all @channel [x](https://evil.example) ![](http://evil.example/x.png)", "a\r\nb\x1b[31m", "`*_~#", "\xff\u202e", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m := hostileMessage(text)
		for _, shape := range []struct {
			name  string
			write writer
			never []string
		}{
			{shapeSlack, slackBody, []string{"<"}},
			{shapeTeams, teamsBody, []string{"](", "<"}},
			{shapeMattermost, mattermostBody, []string{"](", "@all", "@channel", "@here"}},
		} {
			body, err := shape.write(m)
			if err != nil || !json.Valid(body) || len(body) > maxPayload {
				t.Fatalf("%s: %d octets, %v", shape.name, len(body), err)
			}
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				t.Fatal(err)
			}
			var all []string
			texts(v, &all)
			for _, said := range all {
				if strings.HasPrefix(said, "https://tapwatch.example/") {
					continue
				}
				for _, bad := range shape.never {
					if at := strings.Index(said, bad); at >= 0 && (at == 0 || said[at-1] != '\\') {
						t.Errorf("%s: %q holds %q", shape.name, said, bad)
					}
				}
				if strings.ContainsAny(said, "\x1b\r") {
					t.Errorf("%s: %q", shape.name, said)
				}
			}
		}
	})
}

func TestShapes(t *testing.T) {
	m := sample()
	m.console = "https://tapwatch.example"
	for _, tt := range []struct{ shape, want string }{
		{"", `"schema":"tapwatch.alert/1"`}, {shapeSlack, `"type":"header"`}, {shapeTeams, `"AdaptiveCard"`}, {shapeMattermost, `"fallback"`},
	} {
		h := hook(t, Webhook{Name: "x", URL: "https://chat.example/x", Shape: tt.shape})
		body, err := h.write(m)
		if err != nil || !strings.Contains(string(body), tt.want) || !strings.Contains(string(body), "https://tapwatch.example/?alert=") || h.kind != jsonType {
			t.Errorf("%q: %s, %v", tt.shape, body, err)
		}
	}
	gone := sample()
	gone.Withdrawn, gone.reason = true, ReasonGone
	if body, err := slackBody(gone); err != nil || !strings.Contains(string(body), "does not hold") {
		t.Errorf("withdrawn: %s, %v", body, err)
	}
	of := sample()
	of.Detector, of.Related = "case", []string{"aa", "bb"}
	if body, err := mattermostBody(of); err != nil || !strings.Contains(string(body), "2 alerts: aa, bb") || !strings.Contains(string(body), "case: ") {
		t.Errorf("case: %s, %v", body, err)
	}
}

func TestTemplate(t *testing.T) {
	// The example of README: SMS by the webhook of a gateway.
	sms := Webhook{Name: "sms", URL: "https://sms.example/send", Shape: shapeTemplate, Template: `{"to": ["+15550100"], "text": {{printf "%s: %s" (upper (printf "%s" .Severity)) .Headline | cut 150 | json}}, "ref": {{json .Key}}}`}
	m := hostileMessage("a \"scan\" \\ of\n10.0.0.1 " + strings.Repeat("é", 200))
	body, err := hook(t, sms).write(m)
	var got struct {
		Text, Ref string
	}
	if err != nil || json.Unmarshal(body, &got) != nil || got.Ref != m.key() || len(got.Text) > 150 || !strings.HasPrefix(got.Text, strings.ToUpper(string(m.Severity))+`: a "scan" \ of 10.0.0.1`) || !utf8.ValidString(got.Text) {
		t.Errorf("%s: %+v, %v", body, got, err)
	}
	form := Webhook{Name: "form", URL: "https://x.example", Shape: shapeTemplate, ContentType: "application/x-www-form-urlencoded", Template: `text={{urlquery .Headline}}&id={{urlquery .ID}}`}
	if body, err := hook(t, form).write(m); err != nil || strings.ContainsAny(string(body), " \n\"") {
		t.Errorf("%s, %v", body, err)
	}
	for _, tt := range []struct{ name, text, kind, shape, want string }{
		{"empty", " ", "", shapeTemplate, "is empty"},
		{"syntax", "{{.Title", "", shapeTemplate, "template"},
		{"field", "{{json .Nothing}}", "", shapeTemplate, "Nothing"},
		{"not JSON", "hello", "", shapeTemplate, "not JSON"},
		{"broken by a quote", `{"text":"{{.Title}}"}`, "", shapeTemplate, "not JSON"},
		{"endless", `{{range $i := .Reasons}}{{range 100000000}}xxxxxxxxxxxxxxxxxxxx{{end}}{{end}}`, "text/plain", shapeTemplate, "larger"},
		{"of another shape", "x", "", shapeSlack, "set shape"},
		{"unknown shape", "", "", "discord", "unknown"},
		{"type", "x", "text/plain\r\nX: y", shapeTemplate, "media type"},
	} {
		cfg := DefaultConfig()
		cfg.Webhooks = []Webhook{{Name: "x", URL: "https://x.example", Shape: tt.shape, Template: tt.text, ContentType: tt.kind}}
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error()+kit.HintOf(err), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestSign(t *testing.T) {
	h := http.Header{}
	Sign(h, "key", []byte("body"), time.Unix(1700000000, 0))
	sum := func(text string) string {
		mac := hmac.New(sha256.New, []byte("key"))
		mac.Write([]byte(text))
		return hex.EncodeToString(mac.Sum(nil))
	}
	if got := h.Get("X-Tapwatch-Signed"); got != "t=1700000000,sha256="+sum("1700000000.body") {
		t.Error(got)
	}
	if got := h.Get("X-Tapwatch-Signature"); got != "sha256="+sum("body") {
		t.Error(got)
	}
}

// unescape reads CEF as its receivers do.
func splitCEF(t *testing.T, text string) (header []string, extensions map[string]string) {
	t.Helper()
	field := ""
	rest := text
	for len(header) < 7 && rest != "" {
		switch {
		case strings.HasPrefix(rest, `\|`), strings.HasPrefix(rest, `\\`):
			field, rest = field+rest[1:2], rest[2:]
		case rest[0] == '|':
			header, field, rest = append(header, field), "", rest[1:]
		default:
			field, rest = field+rest[:1], rest[1:]
		}
	}
	extensions = map[string]string{}
	key, value, word := "", "", ""
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, `\=`), strings.HasPrefix(rest, `\\`):
			word, rest = word+rest[1:2], rest[2:]
		case rest[0] == '=':
			if key != "" {
				extensions[key] = strings.TrimSuffix(value, " ")
			}
			key, value, word, rest = word, "", "", rest[1:]
		case rest[0] == ' ':
			value, word, rest = value+word+" ", "", rest[1:]
		default:
			word, rest = word+rest[:1], rest[1:]
		}
	}
	if key != "" {
		extensions[key] = value + word
	}
	return header, extensions
}

func FuzzSIEM(f *testing.F) {
	for _, s := range []string{"scan", "a|b\\c=d e=f", "a\r\nCEF:0|x", "\x1b[31m", "\xff", strings.Repeat("=", 900), "10.0.0.1", "{\"a\":1}"} {
		f.Add(s, uint16(2048))
	}
	f.Fuzz(func(t *testing.T, text string, limit uint16) {
		m := hostileMessage(text)
		header, extensions := splitCEF(t, m.cef(8192))
		if len(header) != 7 || header[0] != "CEF:0" || header[5] != cut(m.headline(), 300) {
			t.Errorf("header %q", header)
		}
		if extensions["externalId"] != m.key() || extensions["msg"] != cut(clean(text), 500) {
			t.Errorf("extensions %q, want msg %q", extensions, cut(clean(text), 500))
		}
		room := 1024 + int(limit)
		line := m.ecs(room)
		var o map[string]any
		if json.Unmarshal(line, &o) != nil || len(line) > room || strings.ContainsAny(string(line), "\r\n\x1b") {
			t.Errorf("%d of %d octets: %s", len(line), room, line)
		}
		if room > 6000 && (o["event"] == nil || o["ecs"] == nil || o["@timestamp"] == nil) {
			t.Errorf("%s", line)
		}
	})
}

func TestSIEM(t *testing.T) {
	m := sample()
	m.Actor, m.Victim, m.Severity, m.Entities, m.Techniques = "10.0.0.9", "2001:db8::1", alert.High, []string{"port=443/tcp"}, []string{"T1046"}
	_, x := splitCEF(t, m.cef(8192))
	if x["src"] != "10.0.0.9" || x["dst"] != "2001:db8::1" || x["dpt"] != "443" || x["cs1"] != "T1046" || x["start"] == "" {
		t.Errorf("%q", x)
	}
	for _, format := range []string{formatCEF, formatECS} {
		for _, limit := range []int{maxDatagram, maxStream} {
			s := logger(t, Syslog{Name: "x", Addr: "127.0.0.1:514", Format: format})
			text := string(s.format(m, limit))
			if _, rest, ok := strings.Cut(text, " - "); !strings.HasPrefix(text, "<131>1 ") || !ok || len(text) > limit || !strings.Contains(rest, map[string]string{formatCEF: " - CEF:0|Tapwatch|", formatECS: ` - {"@timestamp"`}[format]) {
				t.Errorf("%s: %s", format, text)
			}
		}
	}
	cfg := DefaultConfig()
	cfg.Syslog = []Syslog{{Name: "x", Addr: "127.0.0.1:514", Format: "leef"}}
	if err := cfg.Check(); err == nil {
		t.Error("an unknown format was taken")
	}
}

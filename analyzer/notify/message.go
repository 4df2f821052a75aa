package notify

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/incident"
)

// message is one revision of an alert on its way to a sink. What is sent is a
// function of it alone, so that a repetition is the same to the byte.
type message struct {
	alert.Alert
	reason  Reason
	console string // address of the console without a slash at its end, empty: none
}

// key tells a receiver that it has seen this message before.
func (m *message) key() string { return fmt.Sprintf("%s-%d", m.ID, m.Revision) }

// link is the address of the alert in the console, empty if that is not known.
func (m *message) link() string {
	if m.console == "" {
		return ""
	}
	return m.console + "/?alert=" + url.QueryEscape(m.ID)
}

// Schema names the form of Payload; it changes only when a field changes its
// meaning or goes away.
const Schema = "tapwatch.alert/1"

// Payload is the body of a webhook. Fields of an alert are named, and written,
// as in /api/v1/alerts; times are RFC 3339 in UTC; a number that is not known is
// null.
type Payload struct {
	Schema         string              `json:"schema"` // Schema
	Key            string              `json:"key"`    // as the header Idempotency-Key
	Reason         Reason              `json:"reason"` // new, severity_changed, grown_tenfold or withdrawn
	URL            string              `json:"url"`    // of the alert in the console, empty: not known
	ID             string              `json:"id"`     // stable over all revisions
	Revision       uint32              `json:"revision"`
	Detector       string              `json:"detector"`
	Version        uint16              `json:"version"`
	Title          string              `json:"title"`
	Severity       alert.Severity      `json:"severity"`
	Score          *float64            `json:"score"`
	Confidence     *float64            `json:"confidence"`
	Magnitude      *float64            `json:"magnitude"`
	Techniques     []string            `json:"techniques"`
	Actor          string              `json:"actor"`
	Victim         string              `json:"victim"`
	Entities       []string            `json:"entities"`
	Start          string              `json:"start"`
	End            string              `json:"end"`
	WindowStart    string              `json:"window_start"`
	WindowEnd      string              `json:"window_end"`
	SubScores      map[string]*float64 `json:"sub_scores"`
	Reasons        []string            `json:"reasons"`
	EvidenceSQL    string              `json:"evidence_sql"`
	EvidenceParams map[string]string   `json:"evidence_params"`
	Baseline       any                 `json:"baseline"`
	Flows          []string            `json:"flows"`
	Completeness   *float64            `json:"completeness"`
	Provisional    bool                `json:"provisional"`
	Withdrawn      bool                `json:"withdrawn"` // what was told before was not confirmed
	Unless         []string            `json:"unless"`    // what would have kept it from being raised
	Related        []string            `json:"related"`   // of a case: ids of its alerts, in the order of time
	Missing        []string            `json:"missing"`
	Raised         string              `json:"raised"`
	Updated        string              `json:"updated"`
	Truncated      bool                `json:"truncated"` // evidence, baseline, flows and long lists were left out for size
}

// maxPayload bounds the body of a webhook, in bytes.
const maxPayload = 256 << 10

// payload is m as JSON, of at most about maxPayload bytes.
func (m *message) payload() ([]byte, error) {
	p := m.fields()
	body, err := json.Marshal(p)
	if err != nil || len(body) <= maxPayload {
		return body, err
	}
	p.shorten()
	return json.Marshal(p)
}

// fields is m as a Payload of any size.
func (m *message) fields() Payload {
	p := Payload{
		Schema: Schema, Key: m.key(), Reason: m.reason, URL: m.link(),
		ID: m.ID, Revision: m.Revision, Detector: m.Detector, Version: m.Version, Title: m.Title, Severity: m.Severity,
		Score: number(m.Score), Confidence: number(m.Confidence), Magnitude: number(m.Magnitude), Techniques: orNone(m.Techniques),
		Actor: m.Actor, Victim: m.Victim, Entities: orNone(m.Entities),
		Start: rfc3339(m.Start), End: rfc3339(m.End), WindowStart: rfc3339(m.WindowStart), WindowEnd: rfc3339(m.WindowEnd),
		SubScores: map[string]*float64{}, Reasons: orNone(m.Reasons), EvidenceSQL: m.EvidenceSQL, EvidenceParams: m.EvidenceParams,
		Flows: orNone(m.FlowIDs), Completeness: number(m.Completeness), Provisional: m.Provisional, Missing: orNone(m.Missing),
		Withdrawn: m.Withdrawn, Unless: orNone(m.Unless), Related: orNone(m.Related),
		Raised: rfc3339(m.Raised), Updated: rfc3339(m.Updated),
	}
	for name, v := range m.SubScores {
		p.SubScores[name] = number(v)
	}
	if p.EvidenceParams == nil {
		p.EvidenceParams = map[string]string{}
	}
	if m.Baseline != "" && json.Unmarshal([]byte(m.Baseline), &p.Baseline) != nil {
		p.Baseline = m.Baseline
	}
	return p
}

// shorten leaves out evidence, baseline and flows, and cuts lists and texts.
func (p *Payload) shorten() {
	const few, short = 50, 500
	p.Truncated = true
	p.EvidenceSQL, p.EvidenceParams, p.Baseline, p.Flows = "", map[string]string{}, nil, []string{}
	p.Title, p.Actor, p.Victim = cut(p.Title, short), cut(p.Actor, short), cut(p.Victim, short)
	for _, list := range []*[]string{&p.Techniques, &p.Entities, &p.Reasons, &p.Missing, &p.Unless, &p.Related} {
		l := (*list)[:min(len(*list), few)]
		brief := make([]string, len(l))
		for i, s := range l {
			brief[i] = cut(s, short)
		}
		*list = brief
	}
	if len(p.SubScores) > few {
		p.SubScores = map[string]*float64{}
	}
}

// number is nil for what JSON has no number for.
func number(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// clean makes one line of what may have come off the wire: every run of
// characters that are not printable (line ends, escape sequences, overrides of
// the writing direction, broken UTF-8) becomes one space.
func clean(text string) string {
	var b strings.Builder
	space := false
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		if r == ' ' || !unicode.IsPrint(r) || r == utf8.RuneError && size == 1 {
			space = b.Len() > 0
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cut shortens text to at most n bytes at the border of a character, with an
// ellipsis in place of what is missing. n is at least 3.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	end := n - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// line is clean and bounded, and says so where there is nothing.
func line(text string, n int, otherwise string) string {
	if text = cut(clean(text), n); text == "" {
		return otherwise
	}
	return text
}

// headline is one line about the alert, for a subject or a syslog message.
func (m *message) headline() string {
	title := line(m.Title, 300, line(m.Detector, 32, "alert"))
	if m.isCase() && !strings.HasPrefix(strings.ToLower(title), "case") {
		title = "case: " + title
	}
	switch m.reason {
	case ReasonSeverity:
		title += " (severity changed)"
	case ReasonGrowth:
		title += " (grown tenfold)"
	case ReasonGone:
		title += " (withdrawn: not confirmed)"
	}
	return title
}

// isCase says that it is made of other alerts.
func (m *message) isCase() bool { return m.Detector == incident.CaseDetector }

// fact is a line of what a person is told.
type fact struct{ Name, Value string }

// facts are what a mail says about the alert, one line each.
func (m *message) facts() []fact {
	const long = 400
	var list []fact
	if m.reason == ReasonGone {
		list = append(list, fact{"Withdrawn", "when the traffic was judged again it was not found; what was told before does not hold"})
	}
	list = append(list, []fact{{"Severity", line(string(m.Severity), 20, "unknown")}, {"Detector", line(m.Detector, 64, "unknown")},
		{"Actor", line(m.Actor, long, "many")}, {"Victim", line(m.Victim, long, "many")},
		{"First traffic", m.Start.UTC().Format(time.DateTime + " UTC")}, {"Last traffic", m.End.UTC().Format(time.DateTime + " UTC")}}...)
	if m.isCase() {
		list = append(list, fact{"Case of", fmt.Sprintf("%d alerts: %s", len(m.Related), line(strings.Join(m.Related[:min(len(m.Related), 10)], ", "), long, "none"))})
	}
	if s := number(m.Score); s != nil {
		list = append(list, fact{"Score", fmt.Sprintf("%.2f", *s)})
	}
	if len(m.Techniques) > 0 {
		list = append(list, fact{"ATT&CK", line(strings.Join(m.Techniques, ", "), long, "")})
	}
	for i, r := range m.Reasons {
		if i == 20 {
			list = append(list, fact{"Why", fmt.Sprintf("and %d more", len(m.Reasons)-i)})
			break
		}
		list = append(list, fact{"Why", line(r, long, "")})
	}
	switch c := number(m.Completeness); {
	case c == nil:
		list = append(list, fact{"Completeness", "unknown"})
	default:
		list = append(list, fact{"Completeness", fmt.Sprintf("%.2f %% of the packets seen", math.Floor(*c*1e4)/100)})
	}
	if m.Provisional {
		list = append(list, fact{"Provisional", "the window was not closed yet"})
	}
	return append(list, fact{"Alert", fmt.Sprintf("%s, revision %d", line(m.ID, 100, "none"), m.Revision)})
}

const maxError = 300

// errorText is an error as it may be logged and stored: one line, bounded, and
// without the secrets of the sink, whatever the other side has put into it.
func errorText(err error, secrets []string) string {
	text := err.Error()
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return cut(clean(text), maxError)
}

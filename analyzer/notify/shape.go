package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// The shapes of a webhook's body.
const (
	shapeTapwatch   = "tapwatch"   // Payload
	shapeSlack      = "slack"      // incoming webhooks, with blocks
	shapeTeams      = "teams"      // workflows that take an adaptive card
	shapeMattermost = "mattermost" // incoming webhooks, with attachments
	shapeTemplate   = "template"   // Webhook.Template
)

const jsonType = "application/json"

// TemplateData is what a template of a webhook sees: the fields of Payload, and
// what a person would be told.
type TemplateData struct {
	Payload
	Headline string // one line: the title, and what has changed
	Facts    []fact // what a mail says, one line each: .Name and .Value
}

// writer makes the body of a webhook.
type writer func(m *message) ([]byte, error)

// shapeOf returns what writes the bodies of w, and their content type.
func shapeOf(at string, w Webhook) (writer, string, error) {
	if w.Shape != shapeTemplate && (w.Template != "" || w.ContentType != "") {
		return nil, "", kit.Hint(fmt.Errorf("%s.template: is given, but shape is %q", at, w.Shape), "set shape to template")
	}
	switch w.Shape {
	case "", shapeTapwatch:
		return (*message).payload, jsonType, nil
	case shapeSlack:
		return slackBody, jsonType, nil
	case shapeTeams:
		return teamsBody, jsonType, nil
	case shapeMattermost:
		return mattermostBody, jsonType, nil
	case shapeTemplate:
		return templateBody(at, w)
	}
	return nil, "", kit.Hint(fmt.Errorf("%s.shape: %q is unknown", at, w.Shape), "one of tapwatch, slack, teams, mattermost, template")
}

// templateBody parses the template of w and tries it on alerts of every reason:
// what would fail at three in the morning fails at the start.
func templateBody(at string, w Webhook) (writer, string, error) {
	if strings.TrimSpace(w.Template) == "" {
		return nil, "", fmt.Errorf("%s.template: is empty", at)
	}
	kind := w.ContentType
	if kind == "" {
		kind = jsonType
	}
	if strings.ContainsAny(kind, "\r\n") || !strings.Contains(kind, "/") {
		return nil, "", fmt.Errorf("%s.content_type: %q is not a media type", at, w.ContentType)
	}
	t, err := template.New("webhook").Option("missingkey=error").Funcs(template.FuncMap{
		"json":  templateJSON,
		"line":  func(text string) string { return clean(text) },
		"cut":   func(n int, text string) string { return cut(clean(text), max(n, 3)) },
		"upper": strings.ToUpper,
		"lower": strings.ToLower,
		"join":  func(sep string, list []string) string { return clean(strings.Join(list, sep)) },
	}).Parse(w.Template)
	if err != nil {
		return nil, "", fmt.Errorf("%s.template: %w", at, err)
	}
	isJSON := strings.HasPrefix(strings.ToLower(kind), jsonType)
	write := func(m *message) ([]byte, error) {
		p := m.fields()
		var b bounded
		if err := t.Execute(&b, TemplateData{Payload: p, Headline: m.headline(), Facts: m.facts()}); err != nil {
			return nil, fmt.Errorf("execute template: %w", err)
		}
		if isJSON && !json.Valid(b.b) {
			return nil, errors.New("execute template: what it made is not JSON")
		}
		return b.b, nil
	}
	for _, m := range samples() {
		if _, err := write(m); err != nil {
			return nil, "", kit.Hint(fmt.Errorf("%s.template: %w", at, err), `within JSON write values as {{json .Title}}, which adds quotes and escapes`)
		}
	}
	return write, kind, nil
}

// templateJSON writes any value as JSON, with the quotes of a text.
func templateJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// bounded is a buffer that takes as much as a body may have.
type bounded struct{ b []byte }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if len(b.b)+len(p) > maxPayload {
		return 0, fmt.Errorf("the body is larger than %d octets", maxPayload)
	}
	b.b = append(b.b, p...)
	return len(p), nil
}

// samples are messages that templates are tried on: full and empty ones, and
// text that breaks what is not escaped.
func samples() []*message {
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	full := alert.Alert{ID: "0123456789abcdef0123", Revision: 3, Detector: "portscan_vertical", Version: 1, Title: "a \"scan\" \\ of\n10.0.0.1", Severity: alert.High,
		Score: 0.9, Confidence: 0.8, Magnitude: 100, Techniques: []string{"T1046"}, Actor: "10.0.0.9", Victim: "10.0.0.1", Entities: []string{"actor=10.0.0.9", "victim=10.0.0.1"},
		Start: start, End: start.Add(time.Minute), WindowStart: start, WindowEnd: start.Add(10 * time.Minute), SubScores: map[string]float64{"ports": 1},
		Reasons: []string{"100 \"ports\"", "tab\tand\x1b[31m"}, EvidenceSQL: "SELECT 1", EvidenceParams: map[string]string{"a": "b"}, Baseline: `{"a":1}`, FlowIDs: []string{"p/1/0/1"},
		Completeness: 1, Raised: start, Updated: start}
	empty := alert.Alert{ID: "00", Revision: 1}
	gone := full
	gone.Withdrawn = true
	return []*message{{Alert: full, reason: ReasonNew, console: "https://tapwatch.example"}, {Alert: empty, reason: ReasonNew}, {Alert: gone, reason: ReasonGone}}
}

// color is how severities look in chats, as RRGGBB.
func (m *message) color() string {
	if m.reason == ReasonGone {
		return "#808080"
	}
	c, known := map[alert.Severity]string{alert.Critical: "#8b0000", alert.High: "#d7263d", alert.Medium: "#f49d37", alert.Low: "#3f88c5", alert.Info: "#808080"}[m.Severity]
	if !known {
		return "#808080"
	}
	return c
}

// lead is the headline with the severity before it.
func (m *message) lead() string {
	return strings.ToUpper(line(string(m.Severity), 20, "alert")) + ": " + m.headline()
}

type object = map[string]any

// slackBody is an incoming webhook of Slack. Texts are marked as plain where
// Slack lets them be; elsewhere the three characters that begin links and
// mentions are escaped, as Slack asks for.
func slackBody(m *message) ([]byte, error) {
	const sectionFields, fieldChars, headerChars = 10, 2000, 150 // limits of Slack's blocks
	blocks := []object{{"type": "header", "text": object{"type": "plain_text", "text": cut(strings.NewReplacer("<", "‹", ">", "›").Replace(m.lead()), headerChars), "emoji": false}}}
	var fields []object
	for _, f := range m.facts() {
		fields = append(fields, object{"type": "mrkdwn", "text": cut("*"+slackText(f.Name)+"*\n"+slackText(f.Value), fieldChars)})
	}
	for len(fields) > 0 {
		n := min(len(fields), sectionFields)
		blocks = append(blocks, object{"type": "section", "fields": fields[:n]})
		fields = fields[n:]
	}
	if link := m.link(); link != "" {
		blocks = append(blocks, object{"type": "actions", "elements": []object{{"type": "button", "text": object{"type": "plain_text", "text": "Open in the console"}, "url": link}}})
	}
	return json.Marshal(object{"text": slackText(m.lead()), "attachments": []object{{"color": m.color(), "blocks": blocks}}})
}

// slackText escapes what Slack reads as the beginning of a link or a mention,
// and takes the meaning from the marks of its markup.
func slackText(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", "\u2217", "_", "\u200b_", "~", "\u200b~", "`", "\u02cb").Replace(text)
}

// teamsBody is an adaptive card, as the workflows of Teams take it.
func teamsBody(m *message) ([]byte, error) {
	facts := []object{}
	for _, f := range m.facts() {
		facts = append(facts, object{"title": f.Name, "value": markdown(f.Value)})
	}
	style := map[alert.Severity]string{alert.Critical: "attention", alert.High: "attention", alert.Medium: "warning", alert.Low: "accent"}[m.Severity]
	if style == "" || m.reason == ReasonGone {
		style = "default"
	}
	card := object{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "msteams": object{"width": "Full"},
		"body": []object{
			{"type": "TextBlock", "text": markdown(m.lead()), "wrap": true, "weight": "Bolder", "size": "Medium", "color": style},
			{"type": "FactSet", "facts": facts},
		}}
	if link := m.link(); link != "" {
		card["actions"] = []object{{"type": "Action.OpenUrl", "title": "Open in the console", "url": link}}
	}
	return json.Marshal(object{"type": "message", "attachments": []object{{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil, "content": card}}})
}

// mattermostBody is an incoming webhook of Mattermost.
func mattermostBody(m *message) ([]byte, error) {
	fields := []object{}
	for _, f := range m.facts() {
		fields = append(fields, object{"short": len(f.Value) <= 40, "title": f.Name, "value": markdown(f.Value)})
	}
	a := object{"fallback": markdown(m.lead()), "color": m.color(), "title": markdown(m.headline()), "fields": fields}
	if link := m.link(); link != "" {
		a["title_link"] = link
	}
	return json.Marshal(object{"text": markdown(m.lead()), "attachments": []object{a}})
}

// markdown escapes what Markdown gives a meaning, and what would call people or
// begin a link.
func markdown(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case strings.ContainsRune("\\`*_{}[]()#+!|~<>&", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '@':
			b.WriteString("@\u200b")
		default:
			b.WriteRune(r)
		}
	}
	return strings.ReplaceAll(b.String(), "://", ":\u200b//")
}

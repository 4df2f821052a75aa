package notify

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// The formats of a syslog message.
const (
	formatText = "text" // RFC 5424 with structured data
	formatCEF  = "cef"  // ArcSight's Common Event Format, as the text of RFC 5424
	formatECS  = "ecs"  // JSON with the fields of the Elastic Common Schema, likewise
)

// port is the port that the alert is about, 0: none or several.
func (m *message) port() int {
	for _, e := range m.Entities {
		if text, ok := strings.CutPrefix(e, "port="); ok {
			text, _, _ = strings.Cut(text, "/")
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return 0
			}
			return int(n)
		}
	}
	return 0
}

// cef is m in ArcSight's Common Event Format, version 0, of at most limit
// octets: extensions that have no room are left out whole, so that none is cut
// within an escape.
func (m *message) cef(limit int) string {
	level := map[alert.Severity]int{alert.Critical: 10, alert.High: 8, alert.Medium: 6, alert.Low: 3, alert.Info: 1}[m.Severity]
	name := cut(m.headline(), 300)
	var b strings.Builder
	fmt.Fprintf(&b, "CEF:0|Tapwatch|analyzer|%d|%s|%s|%d|", m.Version, cefHeader(line(m.Detector, 64, "unknown")), cefHeader(name), level)
	first := true
	add := func(key, value string) {
		value = cefValue(cut(clean(value), 500))
		if value == "" || b.Len()+len(key)+len(value)+2 > limit {
			return
		}
		if !first {
			b.WriteByte(' ')
		}
		first = false
		b.WriteString(key + "=" + value)
	}
	add("externalId", m.key())
	add("cat", string(m.reason))
	add("rt", millis(m.Updated.UnixMilli()))
	add("start", millis(m.Start.UnixMilli()))
	add("end", millis(m.End.UnixMilli()))
	side(m.Actor, func(address string) { add("src", address) }, func(name string) { add("shost", name) })
	side(m.Victim, func(address string) { add("dst", address) }, func(name string) { add("dhost", name) })
	if p := m.port(); p > 0 {
		add("dpt", strconv.Itoa(p))
	}
	if v := number(m.Score); v != nil {
		add("cfp1Label", "score")
		add("cfp1", strconv.FormatFloat(*v, 'f', 3, 64))
	}
	add("cs1Label", "techniques")
	add("cs1", strings.Join(m.Techniques, ","))
	add("cs2Label", "incident")
	add("cs2", m.ID)
	if link := m.link(); link != "" {
		add("cs3Label", "console")
		add("cs3", link)
	}
	add("msg", strings.Join(m.Reasons, "; "))
	return b.String()
}

func millis(n int64) string { return strconv.FormatInt(max(n, 0), 10) }

// side calls address for an address and name for another text that is there.
func side(text string, address, name func(string)) {
	if a, err := netip.ParseAddr(text); err == nil {
		address(a.Unmap().WithZone("").String())
	} else if text != "" {
		name(text)
	}
}

// cefHeader escapes a field before the extensions: backslash and pipe.
func cefHeader(text string) string {
	return strings.NewReplacer(`\`, `\\`, `|`, `\|`).Replace(text)
}

// cefValue escapes a value of an extension: backslash and the equals sign. Line
// ends were made spaces before.
func cefValue(text string) string {
	return strings.NewReplacer(`\`, `\\`, `=`, `\=`).Replace(text)
}

// ecs is m as an object of the Elastic Common Schema 8.11, one line of JSON of
// at most limit octets; what is long is left out first. What is not in the schema
// is below tapwatch.
func (m *message) ecs(limit int) []byte {
	const many, long = 20, 400
	reasons := make([]string, 0, many)
	for _, r := range m.Reasons[:min(len(m.Reasons), many)] {
		reasons = append(reasons, line(r, long, ""))
	}
	level := max(m.Severity.Rank(), 0)
	event := object{"kind": "alert", "category": []string{"network"}, "type": []string{"info"}, "module": "tapwatch", "dataset": "tapwatch.alert",
		"id": line(m.key(), 120, "none"), "code": line(m.Detector, 64, "unknown"), "action": string(m.reason), "severity": level,
		"start": rfc3339(m.Start), "end": rfc3339(m.End), "created": rfc3339(m.Raised)}
	if v := number(m.Score); v != nil {
		event["risk_score"] = *v * 100
	}
	own := object{"alert": line(m.ID, 100, "none"), "revision": m.Revision, "severity": line(string(m.Severity), 20, "unknown"), "provisional": m.Provisional,
		"magnitude": number(m.Magnitude), "confidence": number(m.Confidence), "completeness": number(m.Completeness)}
	out := object{"@timestamp": rfc3339(m.Updated), "ecs": object{"version": "8.11.0"}, "message": m.headline(), "event": event, "tapwatch": own,
		"observer": object{"vendor": "Tapwatch", "product": "analyzer", "type": "ndr"},
		"rule":     object{"id": line(m.Detector, 64, "unknown"), "name": line(m.Detector, 64, "unknown"), "version": fmt.Sprint(m.Version)}}
	for field, text := range map[string]string{"source": m.Actor, "destination": m.Victim} {
		o := object{}
		side(text, func(a string) { o["address"], o["ip"] = a, a }, func(n string) { o["address"] = line(n, 255, "") })
		if p := m.port(); field == "destination" && p > 0 {
			o["port"] = p
		}
		if len(o) > 0 {
			out[field] = o
		}
	}
	if link := m.link(); link != "" {
		event["url"] = link
	}
	if len(m.Techniques) > 0 {
		out["threat"] = object{"framework": "MITRE ATT&CK", "technique": object{"id": m.Techniques[:min(len(m.Techniques), many)]}}
	}
	if len(reasons) > 0 {
		event["reason"] = strings.Join(reasons, "; ")
	}
	for _, drop := range []func(){func() {}, func() { delete(event, "reason") }, func() { delete(out, "threat") }, func() { out["message"] = cut(m.headline(), 80) },
		func() { delete(out, "source"); delete(out, "destination"); delete(event, "url") }} {
		drop()
		if text, err := json.Marshal(out); err == nil && len(text) <= limit {
			return text
		}
	}
	return []byte(`{"message":"tapwatch alert"}`)
}

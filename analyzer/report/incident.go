package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/incident"
)

// Incident is all that is known of one.
type Incident struct {
	ID           string         `json:"id"`
	Revision     uint32         `json:"revision"`
	Detector     string         `json:"detector"`
	Title        string         `json:"title"`
	Severity     string         `json:"severity"`
	Score        float64        `json:"score"`
	Confidence   float64        `json:"confidence"`
	Magnitude    float64        `json:"magnitude"`
	Techniques   []string       `json:"techniques"`
	Actor        string         `json:"actor"`
	Victim       string         `json:"victim"`
	Entities     []string       `json:"entities"`
	Start        time.Time      `json:"start"`
	End          time.Time      `json:"end"`
	Reasons      []string       `json:"reasons"`
	Unless       []string       `json:"unless"`
	Withdrawn    bool           `json:"withdrawn"`
	SuppressedBy string         `json:"suppressed_by"`
	Completeness float64        `json:"completeness"` // 0: unknown
	State        string         `json:"state"`
	Owner        string         `json:"owner"`
	Verdict      string         `json:"verdict"`
	Timeline     []Moment       `json:"timeline"`
	Related      []RelatedAlert `json:"related"`
	Flows        []Flow         `json:"flows"` // a sample
	SubScores    []Value        `json:"sub_scores"`
	SQL          string         `json:"evidence_sql"`
	Params       []Param        `json:"evidence_params"`
	Baseline     string         `json:"baseline"` // JSON
	loc          *time.Location
}

// Moment is something that happened.
type Moment struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Who  string    `json:"who"`
	Text string    `json:"text"`
}

// RelatedAlert is an alert of a case.
type RelatedAlert struct {
	ID       string    `json:"id"`
	Title    string    `json:"title"`
	Severity string    `json:"severity"`
	Actor    string    `json:"actor"`
	Victim   string    `json:"victim"`
	Start    time.Time `json:"start"`
}

// Value is a named number.
type Value struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Param is a parameter of a statement.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Flow is a flow of the sample.
type Flow struct {
	ID         string    `json:"id"`
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Src        string    `json:"src_ip"`
	SrcPort    uint16    `json:"src_port"`
	Dst        string    `json:"dst_ip"`
	DstPort    uint16    `json:"dst_port"`
	Protocol   uint8     `json:"protocol"`
	App        string    `json:"app"`
	SrcPackets uint64    `json:"src_packets"`
	DstPackets uint64    `json:"dst_packets"`
	SrcBytes   uint64    `json:"src_bytes"`
	DstBytes   uint64    `json:"dst_bytes"`
	State      string    `json:"conn_state"`
	Name       string    `json:"tls_sni"`
}

// Incident collects what is known of the incident of that id. The error is
// incident.ErrUnknown if there is none.
func (m *Maker) Incident(ctx context.Context, id string) (*Incident, error) {
	alerts := alert.NewStore(m.conn)
	list, err := alerts.Get(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("incident %s: %w", id, incident.ErrUnknown)
	}
	a := list[0]
	out := &Incident{ID: a.ID, Revision: a.Revision, Detector: a.Detector, Title: a.Title, Severity: string(a.Severity), Score: finite(a.Score), Confidence: finite(a.Confidence),
		Magnitude: finite(a.Magnitude), Techniques: a.Techniques, Actor: a.Actor, Victim: a.Victim, Entities: a.Entities, Start: a.Start, End: a.End, Reasons: a.Reasons,
		Unless: a.Unless, Withdrawn: a.Withdrawn, SuppressedBy: a.SuppressedBy, Completeness: finite(a.Completeness), SQL: a.EvidenceSQL, Baseline: a.Baseline, loc: m.loc}
	for _, name := range slices.Sorted(maps.Keys(a.SubScores)) {
		out.SubScores = append(out.SubScores, Value{name, finite(a.SubScores[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(a.EvidenceParams)) {
		out.Params = append(out.Params, Param{name, a.EvidenceParams[name]})
	}
	cases := incident.NewStore(m.conn)
	status, err := cases.Statuses(ctx, list)
	if err != nil {
		return nil, err
	}
	out.State, out.Owner, out.Verdict = status[id].State, status[id].Owner, status[id].Verdict
	events, err := cases.History(ctx, id)
	if err != nil {
		return nil, err
	}
	out.add(a.Start, "first traffic", "", "")
	out.add(a.End, "last traffic", "", "")
	out.add(a.Raised, "raised", a.Detector, "")
	for _, e := range events {
		out.add(e.At, string(e.Kind), e.Who, strings.TrimSpace(e.Value+" "+e.Comment))
	}
	if err := m.moments(ctx, out); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out.Timeline, func(x, y Moment) int { return x.At.Compare(y.At) })
	related, err := alerts.Get(ctx, a.Related)
	if err != nil {
		return nil, err
	}
	for _, r := range related {
		out.Related = append(out.Related, RelatedAlert{r.ID, r.Title, string(r.Severity), r.Actor, r.Victim, r.Start})
	}
	slices.SortFunc(out.Related, func(x, y RelatedAlert) int { return first(x.Start.Compare(y.Start), compare(x.ID, y.ID)) })
	return out, m.flows(ctx, &a, out)
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

func (i *Incident) add(at time.Time, what, who, text string) {
	i.Timeline = append(i.Timeline, Moment{at.UTC(), what, who, text})
}

// moments are what windows said, who was told, and what was done.
func (m *Maker) moments(ctx context.Context, out *Incident) error {
	c := &collector{Maker: m, slot: fine, p: Period{Daily, out.Start, out.End}}
	id := clickhouse.Named("id", out.ID)
	err := c.each(ctx, "findings", func(rows driver.Rows) error {
		var from, to time.Time
		var revision uint32
		var gone, provisional bool
		var title, severity string
		var magnitude float64
		if err := rows.Scan(&from, &to, &revision, &gone, &title, &severity, &magnitude, &provisional); err != nil {
			return err
		}
		what := "found in the window to " + to.UTC().Format(time.DateTime)
		if gone {
			what = "not confirmed in the window to " + to.UTC().Format(time.DateTime)
		} else if provisional {
			what += ", which was not closed yet"
		}
		out.add(from, what, "", fmt.Sprintf("%s: %s (magnitude %.4g)", severity, title, magnitude))
		return nil
	}, id)
	if err != nil {
		return fmt.Errorf("read alert_findings: %w", err)
	}
	err = c.each(ctx, "told", func(rows driver.Rows) error {
		var at time.Time
		var sink, status string
		var revision uint32
		if err := rows.Scan(&at, &sink, &status, &revision); err != nil {
			return err
		}
		out.add(at, map[string]string{"delivered": "told", "gave_up": "could not be told"}[status], sink, fmt.Sprintf("revision %d", revision))
		return nil
	}, id)
	if err != nil {
		return fmt.Errorf("read deliveries: %w", err)
	}
	err = c.each(ctx, "responses", func(rows driver.Rows) error {
		var at time.Time
		var action, state, kind, target, who, note string
		if err := rows.Scan(&at, &action, &state, &kind, &target, &who, &note); err != nil {
			return err
		}
		out.add(at, "response "+strings.ReplaceAll(state, "_", " "), who, strings.TrimSpace(fmt.Sprintf("%s %s (%s) %s", kind, target, action, note)))
		return nil
	}, id)
	if err != nil {
		return fmt.Errorf("read response_steps: %w", err)
	}
	return nil
}

// flows reads the sample of the alert.
func (m *Maker) flows(ctx context.Context, a *alert.Alert, out *Incident) error {
	var flows []uint64
	var probes []string
	for _, id := range a.FlowIDs {
		parts := strings.Split(id, "/")
		if len(parts) < 4 {
			continue
		}
		n, err := strconv.ParseUint(parts[len(parts)-1], 10, 64)
		if err != nil {
			continue
		}
		flows, probes = append(flows, n), append(probes, strings.Join(parts[:len(parts)-3], "/"))
	}
	if len(flows) == 0 {
		return nil
	}
	const form = "2006-01-02 15:04:05.000000000"
	c := &collector{Maker: m, slot: fine, p: Period{Daily, a.Start, a.End}}
	err := c.each(ctx, "flows", func(rows driver.Rows) error {
		var f Flow
		if err := rows.Scan(&f.ID, &f.Start, &f.End, &f.Src, &f.SrcPort, &f.Dst, &f.DstPort, &f.Protocol, &f.App, &f.SrcPackets, &f.DstPackets, &f.SrcBytes, &f.DstBytes, &f.State, &f.Name); err != nil {
			return err
		}
		out.Flows = append(out.Flows, f)
		return nil
	}, clickhouse.Named("from", a.Start.Add(-24*time.Hour).UTC().Format(form)), clickhouse.Named("to", a.End.Add(time.Hour).UTC().Format(form)),
		clickhouse.Named("flows", flows), clickhouse.Named("probes", probes), clickhouse.Named("ids", a.FlowIDs))
	if err != nil {
		return fmt.Errorf("read flows of incident %s: %w", a.ID, err)
	}
	return nil
}

// HTML writes the incident as one file that needs no other, without scripts.
func (i *Incident) HTML(w io.Writer) error {
	loc := i.loc
	if loc == nil {
		loc = time.UTC
	}
	t, err := pages(loc)
	if err != nil {
		return err
	}
	return t.ExecuteTemplate(w, "incident", i)
}

// JSON writes the incident as one object.
func (i *Incident) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(i)
}

package console

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// Alert is one incident, as the table alerts has it.
type Alert struct {
	ID             string              `json:"id" doc:"stable over all revisions"`
	Revision       uint32              `json:"revision" doc:"from 1, grows when the alert changes"`
	Detector       string              `json:"detector"`
	Version        uint16              `json:"version" doc:"of the detector"`
	Title          string              `json:"title"`
	Severity       string              `json:"severity" enum:"info,low,medium,high,critical"`
	Score          *float64            `json:"score" doc:"0 to 1"`
	Confidence     *float64            `json:"confidence" doc:"0 to 1"`
	Magnitude      *float64            `json:"magnitude" doc:"how much of it, in the unit of the detector: ports, hosts, SYNs, connections, bytes"`
	Techniques     []string            `json:"techniques" doc:"ATT&CK ids"`
	Actor          string              `json:"actor" doc:"who did it, empty: many"`
	Victim         string              `json:"victim" doc:"to whom, empty: many"`
	Entities       []string            `json:"entities" doc:"all concerned, as role=value"`
	Start          string              `json:"start" doc:"first traffic concerned"`
	End            string              `json:"end" doc:"last traffic concerned"`
	WindowStart    string              `json:"window_start"`
	WindowEnd      string              `json:"window_end"`
	SubScores      map[string]*float64 `json:"sub_scores" doc:"what the score is made of"`
	Reasons        []string            `json:"reasons" doc:"why this severity"`
	Unless         []string            `json:"unless" doc:"what would have kept it from being raised"`
	EvidenceSQL    string              `json:"evidence_sql" doc:"statement that proves it, with parameters as {name:Type}; /evidence runs it"`
	EvidenceParams map[string]string   `json:"evidence_params"`
	Baseline       any                 `json:"baseline" doc:"what it was compared with, null: nothing"`
	Flows          []string            `json:"flows" doc:"a sample, as the parameter flow of /api/v1/flows takes them"`
	Completeness   *float64            `json:"completeness" doc:"share of the packets of the window that are in flows when it was judged, null: unknown"`
	Provisional    bool                `json:"provisional" doc:"the window was still open"`
	Missing        []string            `json:"missing" doc:"probes that had not passed the window"`
	Withdrawn      bool                `json:"withdrawn" doc:"no window holds it any more"`
	SuppressedBy   string              `json:"suppressed_by" doc:"exclusion:ID, or alert:ID of what explains it; empty: nothing"`
	Related        []string            `json:"related" doc:"of a case: ids of its alerts, in the order of time; what each is stands in baseline"`
	Status         AlertStatus         `json:"status" doc:"how it stands with those who look after it"`
	Raised         string              `json:"raised" doc:"wall clock of the first revision"`
	Updated        string              `json:"updated" doc:"wall clock of this revision"`
}

const alertColumns = `id, revision, detector, version, title, severity, score, confidence, magnitude, techniques, actor, victim, entities,
	start, end, window_start, window_end, sub_scores, reasons, evidence_sql, evidence_params, baseline, flow_ids, completeness, provisional,
	missing, raised, updated, unless, withdrawn, suppressed_by, related`

func scanAlert(rows driver.Rows) (Alert, error) {
	var a Alert
	var score, confidence, magnitude, completeness float64
	var start, end, windowStart, windowEnd, raised, updated time.Time
	var sub map[string]float64
	var baseline string
	err := rows.Scan(&a.ID, &a.Revision, &a.Detector, &a.Version, &a.Title, &a.Severity, &score, &confidence, &magnitude, &a.Techniques, &a.Actor,
		&a.Victim, &a.Entities, &start, &end, &windowStart, &windowEnd, &sub, &a.Reasons, &a.EvidenceSQL, &a.EvidenceParams, &baseline, &a.Flows,
		&completeness, &a.Provisional, &a.Missing, &raised, &updated, &a.Unless, &a.Withdrawn, &a.SuppressedBy, &a.Related)
	if err != nil {
		return a, err
	}
	a.Score, a.Confidence, a.Magnitude, a.Completeness = number(score), number(confidence), number(magnitude), number(completeness)
	a.Start, a.End, a.WindowStart, a.WindowEnd = rfc3339(start), rfc3339(end), rfc3339(windowStart), rfc3339(windowEnd)
	a.Raised, a.Updated = rfc3339(raised), rfc3339(updated)
	a.SubScores = make(map[string]*float64, len(sub))
	for name, v := range sub {
		a.SubScores[name] = number(v)
	}
	if baseline != "" && json.Unmarshal([]byte(baseline), &a.Baseline) != nil {
		a.Baseline = baseline
	}
	return a, nil
}

// number is nil for what JSON has no number for.
func number(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

type alertsInput struct {
	RangeInput
	Detector string `query:"detector" maxLength:"64" doc:"name of the detector"`
	Severity string `query:"severity" enum:"info,low,medium,high,critical" doc:"this severity and those above"`
	Entity   string `query:"entity" maxLength:"256" doc:"address or name that is concerned: actor, victim, or any of the entities, with or without its role="`
	State    string `query:"state" enum:"open,acknowledged,closed" doc:"as people set it last; what nobody touched, and what was closed and has become more severe, is open"`
	Hidden   bool   `query:"hidden" doc:"those that are withdrawn, excluded or explained by another, too"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// Alerts is a list of alerts.
type Alerts struct {
	Range        Range          `json:"range"`
	Completeness Completeness   `json:"completeness"`
	Total        uint64         `json:"total" doc:"alerts that fit, listed or not"`
	BySeverity   map[string]int `json:"by_severity" doc:"how many of each, listed or not"`
	Alerts       []Alert        `json:"alerts" doc:"newest traffic first"`
}

func (c *Console) alerts(ctx context.Context, in *alertsInput) (*answer[Alerts], error) {
	r, err := c.db.resolve(ctx, in.RangeInput)
	if err != nil {
		return nil, err
	}
	out := Alerts{Range: r.tell(), Alerts: []Alert{}, BySeverity: map[string]int{}}
	if out.Completeness, err = c.db.completeness(ctx, r, ""); err != nil {
		return nil, err
	}
	if r.empty() {
		return &answer[Alerts]{out}, nil
	}
	w := where{params: r.params()}
	if in.Detector != "" {
		w.add("detector = {detector:String}", "detector", clickhouse.Text(in.Detector))
	}
	if in.Severity != "" {
		w.add("indexOf(['info', 'low', 'medium', 'high', 'critical'], severity) >= indexOf(['info', 'low', 'medium', 'high', 'critical'], {severity:String})",
			"severity", clickhouse.Text(in.Severity))
	}
	if in.Entity != "" {
		w.add("actor = {entity:String} OR victim = {entity:String} OR has(entities, {entity:String}) OR arrayExists(e -> substring(e, position(e, '=') + 1) = {entity:String}, entities)",
			"entity", clickhouse.Text(in.Entity))
	}
	if in.State != "" {
		w.add(`id IN (SELECT e.alert FROM (SELECT alert, argMax(value, (at, id)) AS state, argMax(indexOf(['info', 'low', 'medium', 'high', 'critical'], severity), (at, id)) AS rank
				FROM incident_events WHERE kind = 'state' GROUP BY alert) AS e
			INNER JOIN (SELECT id, indexOf(['info', 'low', 'medium', 'high', 'critical'], severity) AS now FROM alerts FINAL) AS a ON a.id = e.alert
			WHERE if(e.state = 'closed' AND a.now > e.rank, 'open', e.state) = if({state:String} = 'open', e.state, {state:String}) AND if(e.state = 'closed' AND a.now > e.rank, 'open', e.state) != 'open')
			= ({state:String} != 'open')`, "state", clickhouse.Text(in.State))
	}
	if !in.Hidden {
		w.terms = append(w.terms, "NOT withdrawn AND suppressed_by = ''")
	}
	from := ` FROM alerts FINAL WHERE end >= {from:DateTime64(9, 'UTC')} AND start < {to:DateTime64(9, 'UTC')}` + w.sql()
	err = c.db.each(ctx, "SELECT toString(severity), count()"+from+" GROUP BY 1", w.params, func(rows driver.Rows) error {
		var severity string
		var n uint64
		if err := rows.Scan(&severity, &n); err != nil {
			return err
		}
		out.BySeverity[severity] = int(n)
		out.Total += n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count alerts: %w", err)
	}
	w.params["limit"] = fmt.Sprint(in.Limit)
	err = c.db.each(ctx, "SELECT "+alertColumns+from+" ORDER BY alerts.start DESC, id LIMIT {limit:UInt32}", w.params, func(rows driver.Rows) error {
		a, err := scanAlert(rows)
		out.Alerts = append(out.Alerts, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	if err := c.statuses(ctx, out.Alerts); err != nil {
		return nil, err
	}
	return &answer[Alerts]{out}, nil
}

type alertInput struct {
	ID string `path:"id" maxLength:"128"`
}

// OneAlert is an alert with what is known of its range by now.
type OneAlert struct {
	Range        Range        `json:"range" doc:"of its windows"`
	Completeness Completeness `json:"completeness" doc:"of that range, as the ledger stands now"`
	Alert        Alert        `json:"alert"`
}

func (c *Console) alertByID(ctx context.Context, id string) (Alert, timeRange, error) {
	var a Alert
	found := false
	err := c.db.each(ctx, "SELECT "+alertColumns+" FROM alerts FINAL WHERE id = {id:String} LIMIT 1", params{"id": clickhouse.Text(id)}, func(rows driver.Rows) (err error) {
		a, err = scanAlert(rows)
		found = true
		return err
	})
	if err != nil {
		return a, timeRange{}, fmt.Errorf("read alert: %w", err)
	}
	if !found {
		return a, timeRange{}, huma.Error404NotFound("no alert has the id " + layoutSafe(id))
	}
	var r timeRange
	for _, s := range []string{a.Start, a.WindowStart} {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil && (r.From.IsZero() || t.Before(r.From)) {
			r.From = t
		}
	}
	for _, s := range []string{a.End, a.WindowEnd} {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil && t.After(r.To) {
			r.To = t
		}
	}
	return a, r, nil
}

func (c *Console) alert(ctx context.Context, in *alertInput) (*answer[OneAlert], error) {
	a, r, err := c.alertByID(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	one := []Alert{a}
	if err := c.statuses(ctx, one); err != nil {
		return nil, err
	}
	out := OneAlert{Range: r.tell(), Alert: one[0]}
	if out.Completeness, err = c.db.completeness(ctx, r, ""); err != nil {
		return nil, err
	}
	return &answer[OneAlert]{out}, nil
}

// maxEvidence bounds the rows of evidence that are told.
const maxEvidence = 200

// Evidence is what the statement of an alert returns now.
type Evidence struct {
	Range        Range             `json:"range"`
	Completeness Completeness      `json:"completeness"`
	SQL          string            `json:"sql"`
	Params       map[string]string `json:"params"`
	Columns      []column          `json:"columns"`
	Rows         [][]any           `json:"rows"`
	More         bool              `json:"more" doc:"there are more rows than these"`
	TookMS       int64             `json:"took_ms"`
}

func (c *Console) evidence(ctx context.Context, in *alertInput) (*answer[Evidence], error) {
	a, r, err := c.alertByID(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if a.EvidenceSQL == "" {
		return nil, huma.Error404NotFound("this alert has no statement as evidence")
	}
	if !isSelect(a.EvidenceSQL) {
		return nil, huma.Error422UnprocessableEntity("the evidence of this alert is not a SELECT, so it is not run")
	}
	out := Evidence{Range: r.tell(), SQL: a.EvidenceSQL, Params: a.EvidenceParams}
	if out.Completeness, err = c.db.completeness(ctx, r, ""); err != nil {
		return nil, err
	}
	began := time.Now()
	// The parameters are stored as their detector gave them to ClickHouse.
	out.Columns, out.Rows, out.More, err = c.db.table(ctx, a.EvidenceSQL, params(a.EvidenceParams), maxEvidence)
	if err != nil {
		return nil, fmt.Errorf("run the evidence of alert %s: %w", a.ID, err)
	}
	out.TookMS = time.Since(began).Milliseconds()
	return &answer[Evidence]{out}, nil
}

// isSelect says whether a statement asks for rows; readonly alone would let a
// KILL QUERY pass.
func isSelect(sql string) bool {
	for {
		sql = strings.TrimSpace(sql)
		switch {
		case strings.HasPrefix(sql, "--"):
			_, sql, _ = strings.Cut(sql, "\n")
		case strings.HasPrefix(sql, "/*"):
			_, sql, _ = strings.Cut(sql, "*/")
		default:
			word := sql[:len(sql)-len(strings.TrimLeft(sql, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))]
			return strings.EqualFold(word, "SELECT") || strings.EqualFold(word, "WITH")
		}
	}
}

func (c *Console) alertRoutes(api huma.API) {
	register(c, api, "list-alerts", "/api/v1/alerts", "Alerts", "Alerts whose traffic touches the range, newest first.", c.alerts)
	register(c, api, "get-alert", "/api/v1/alerts/{id}", "One alert", "The newest revision of one alert.", c.alert)
	register(c, api, "run-evidence", "/api/v1/alerts/{id}/evidence", "Evidence of an alert",
		"Runs the statement of the alert again, read-only and within the bounds of any question, and returns its rows.", c.evidence)
}

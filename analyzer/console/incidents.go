package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/backtest"
	"github.com/tapwatch/tapwatch/analyzer/exclusion"
	"github.com/tapwatch/tapwatch/analyzer/incident"
	"github.com/tapwatch/tapwatch/analyzer/respond/audit"
	"github.com/tapwatch/tapwatch/analyzer/retro"
)

// stores are the packages that write for the console.
type stores struct {
	conn       driver.Conn
	incidents  *incident.Store
	exclusions *exclusion.Store
	backtest   *backtest.Backtester
	sweeps     *retro.Store
	sweeper    *retro.Sweeper
	audit      *audit.Log
}

func newStores(conn driver.Conn, log *slog.Logger) stores {
	return stores{conn, incident.NewStore(conn), exclusion.NewStore(conn), backtest.New(conn), retro.NewStore(conn), retro.New(conn, alert.NewStore(conn), log, nil), audit.New(conn, log)}
}

// done writes down that somebody is about to do something; an error means that it
// is not to be done.
func (c *Console) done(ctx context.Context, action, object string, detail any) error {
	if _, err := c.stores.audit.Append(ctx, whoIs(ctx).name, action, object, detail); err != nil {
		return fmt.Errorf("write down %s: %w", action, err)
	}
	return nil
}

// AlertStatus is how an alert stands with those who look after it.
type AlertStatus struct {
	Owner    string `json:"owner" doc:"who looks after it, empty: nobody"`
	State    string `json:"state" enum:"open,acknowledged,closed"`
	Verdict  string `json:"verdict" enum:"true,benign,false," doc:"true: it is what the alert says, and matters; benign: it is, and is allowed; false: it is not; empty: not judged"`
	Reopened bool   `json:"reopened" doc:"it was closed, and its severity has risen since"`
	Comments int    `json:"comments"`
	Updated  string `json:"updated" doc:"wall clock of what was done last, empty: nothing"`
}

// statuses adds how each alert stands.
func (c *Console) statuses(ctx context.Context, list []Alert) error {
	asked := make([]alert.Alert, len(list))
	for i := range list {
		asked[i] = alert.Alert{ID: list[i].ID, Severity: alert.Severity(list[i].Severity)}
	}
	all, err := c.stores.incidents.Statuses(ctx, asked)
	if err != nil {
		return err
	}
	for i := range list {
		s := all[list[i].ID]
		list[i].Status = AlertStatus{s.Owner, s.State, s.Verdict, s.Reopened, s.Comments, rfc3339(s.Updated)}
	}
	return nil
}

// AlertEvent is something that somebody did about an alert.
type AlertEvent struct {
	At       string `json:"at" doc:"wall clock"`
	Who      string `json:"who"`
	Kind     string `json:"kind" enum:"owner,state,verdict,comment"`
	Value    string `json:"value"`
	Comment  string `json:"comment" doc:"why"`
	Severity string `json:"severity" doc:"of the alert at that time"`
}

// AlertEvents is all that was done about an alert.
type AlertEvents struct {
	Events []AlertEvent `json:"events" doc:"earliest first"`
}

func tellEvent(e incident.Event) AlertEvent {
	return AlertEvent{rfc3339(e.At), e.Who, string(e.Kind), e.Value, e.Comment, string(e.Severity)}
}

func (c *Console) alertEvents(ctx context.Context, in *alertInput) (*answer[AlertEvents], error) {
	list, err := c.stores.incidents.History(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := AlertEvents{Events: []AlertEvent{}}
	for _, e := range list {
		out.Events = append(out.Events, tellEvent(e))
	}
	return &answer[AlertEvents]{out}, nil
}

type alertEventInput struct {
	ID   string `path:"id" maxLength:"128"`
	Body struct {
		Kind    string `json:"kind" enum:"owner,state,verdict,comment"`
		Value   string `json:"value" maxLength:"10000" doc:"the owner; open, acknowledged or closed; true, benign, false or empty; or the comment"`
		Comment string `json:"comment,omitempty" maxLength:"10000" doc:"why"`
	}
}

func (c *Console) addAlertEvent(ctx context.Context, in *alertEventInput) (*answer[AlertEvent], error) {
	kind := incident.Kind(in.Body.Kind)
	if err := incident.Check(kind, in.Body.Value); err != nil {
		return nil, badRequest("%s", err)
	}
	if _, _, err := c.alertByID(ctx, in.ID); err != nil {
		return nil, err
	}
	if err := c.done(ctx, "incident."+in.Body.Kind, in.ID, in.Body); err != nil {
		return nil, err
	}
	e, err := c.stores.incidents.Add(ctx, in.ID, whoIs(ctx).name, kind, in.Body.Value, in.Body.Comment)
	if errors.Is(err, incident.ErrUnknown) {
		return nil, huma.Error404NotFound("no alert has the id " + layoutSafe(in.ID))
	}
	if err != nil {
		return nil, err
	}
	return &answer[AlertEvent]{tellEvent(e)}, nil
}

// AuditEntry is one thing that was done.
type AuditEntry struct {
	Seq    uint64 `json:"seq" doc:"from 1, without gaps"`
	At     string `json:"at" doc:"wall clock"`
	Who    string `json:"who"`
	Action string `json:"action"`
	Object string `json:"object"`
	Detail string `json:"detail" doc:"JSON"`
	Hash   string `json:"hash" doc:"of this entry and the hash of the one before"`
}

// Audit is a piece of the audit log.
type Audit struct {
	Entries []AuditEntry `json:"entries"`
}

type auditInput struct {
	After uint64 `query:"after" doc:"entries with greater numbers"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (c *Console) auditLog(ctx context.Context, in *auditInput) (*answer[Audit], error) {
	list, err := c.stores.audit.List(ctx, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	out := Audit{Entries: []AuditEntry{}}
	for _, e := range list {
		out.Entries = append(out.Entries, AuditEntry{e.Seq, rfc3339(e.At), e.Who, e.Action, e.Object, e.Detail, e.Hash})
	}
	return &answer[Audit]{out}, nil
}

func (c *Console) incidentRoutes(api huma.API) {
	register(c, api, "list-alert-events", "/api/v1/alerts/{id}/events", "What was done about an alert", "Owner, states, verdicts and comments, earliest first.", c.alertEvents)
	operate(c, api, Analyst, http.MethodPost, "add-alert-event", "/api/v1/alerts/{id}/events", "Do something about an alert",
		"Sets the owner, state or verdict, or adds a comment. Nothing is overwritten: see the list.", c.addAlertEvent)
	operate(c, api, Admin, http.MethodGet, "list-audit", "/api/v1/audit", "Audit log", "What was done by people and by rules, in order.", c.auditLog)
}

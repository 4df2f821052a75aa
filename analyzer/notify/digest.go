package notify

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/wneessen/go-mail"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
)

var (
	//go:embed digest.sql
	digestSQL string
	//go:embed digest_list.sql
	digestListSQL string
	//go:embed digest_last.sql
	digestLastSQL string
)

const (
	// digestEvery is how often it is looked whether a digest is due.
	digestEvery = 20 * time.Second
	// digestSettle is how long after its period a digest is made: an alert is
	// stamped before it is inserted.
	digestSettle = 2 * time.Minute
	// maxDigests bounds the periods that are made up for one by one; older ones
	// come in one mail.
	maxDigests = 31
	digestID   = "digest-"
)

// digest is the mail that tells of an hour or a day what is not worth a mail of
// its own. Each period is told once: as for alerts, a row of deliveries says that
// it is about to be sent, and one that it was.
type digest struct {
	*sink
	email      *email
	severities []string
	hourly     bool
	hour       int
	loc        *time.Location
	page       *template.Template

	since    time.Time // when the digest at hand failed first
	failures int
	pause    backoff.Backoff
	next     time.Time
}

// digestOf returns the digest of e, nil if it wants none, and sets the least
// severity that has mails of its own.
func (cfg Config) digestOf(at string, e Email, c *common, to *email) (*digest, error) {
	if e.Digest == "" {
		if e.DigestUpTo != "" || e.DigestHour != 0 || e.TimeZone != "" {
			return nil, kit.Hint(fmt.Errorf("%s: digest_up_to, digest_hour and time_zone are of a digest, and there is none", at), "set digest to hourly or daily")
		}
		return nil, nil
	}
	if e.Digest != "hourly" && e.Digest != "daily" {
		return nil, kit.Hint(fmt.Errorf("%s.digest: %q is unknown", at, e.Digest), "one of hourly, daily")
	}
	upTo := e.DigestUpTo
	if upTo == "" {
		upTo = alert.Low
	}
	if upTo.Rank() < 0 {
		return nil, severityError(at+".digest_up_to", upTo)
	}
	if upTo.Rank() < c.min.Rank() {
		return nil, kit.Hint(fmt.Errorf("%s.digest_up_to: %s is below min_severity, %s: the digest would be empty", at, upTo, c.min), "lower min_severity of this entry: info, for scans from outside")
	}
	if e.DigestHour < 0 || e.DigestHour > 23 || e.DigestHour != 0 && e.Digest == "hourly" {
		return nil, fmt.Errorf("%s.digest_hour: %d is no hour of a daily digest", at, e.DigestHour)
	}
	loc, err := time.LoadLocation(e.TimeZone)
	if err != nil || e.TimeZone == "Local" {
		return nil, kit.Hint(fmt.Errorf("%s.time_zone: %q is unknown", at, e.TimeZone), "write it as Europe/Vienna")
	}
	d := &digest{email: to, hourly: e.Digest == "hourly", hour: e.DigestHour, loc: loc, pause: backoff.Backoff{Min: cfg.RetryMin, Max: cfg.RetryMax}}
	for _, s := range alert.Severities() {
		if s.Rank() >= c.min.Rank() && s.Rank() <= upTo.Rank() {
			d.severities = append(d.severities, string(s))
		}
	}
	if d.page, err = template.New("digest").Parse(digestPage); err != nil {
		return nil, err
	}
	c.above = upTo.Rank() + 1
	return d, nil
}

// boundary is the latest end of a period at or before t.
func (d *digest) boundary(t time.Time) time.Time {
	if d.hourly {
		return t.UTC().Truncate(time.Hour)
	}
	t = t.In(d.loc)
	b := time.Date(t.Year(), t.Month(), t.Day(), d.hour, 0, 0, 0, d.loc)
	if b.After(t) {
		b = time.Date(t.Year(), t.Month(), t.Day()-1, d.hour, 0, 0, 0, d.loc)
	}
	return b.UTC()
}

// following is the end of the period that begins at t.
func (d *digest) following(t time.Time) time.Time {
	if d.hourly {
		return t.Add(time.Hour)
	}
	l := t.In(d.loc)
	return time.Date(l.Year(), l.Month(), l.Day()+1, d.hour, 0, 0, 0, d.loc).UTC()
}

// run makes digests until ctx ends.
func (d *digest) run(ctx context.Context) {
	tick := time.NewTicker(digestEvery)
	defer tick.Stop()
	for {
		if now := time.Now(); d.held() && !now.Before(d.next) {
			if err := d.pass(ctx, now); err != nil && ctx.Err() == nil {
				d.log.Warn("cannot send the digest; trying on", "error", errorText(err, d.secrets))
				d.next = now.Add(d.pause.Next())
			} else if err == nil {
				d.pause.Reset()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pass sends the digests that are due at now, the oldest first.
func (d *digest) pass(ctx context.Context, now time.Time) error {
	from, err := d.last(ctx)
	if err != nil {
		return err
	}
	newest := d.boundary(now.Add(-digestSettle))
	if from.IsZero() { // a sink that is new begins with the period that has just ended
		from = d.boundary(newest.Add(-time.Second))
		if err := d.db.write(ctx, d.row(from, delivered, 0, now, "")); err != nil {
			return err
		}
	}
	for first := true; ; first = false {
		to := d.following(from)
		if to.After(newest) {
			return nil
		}
		if first && newest.Sub(from) > maxDigests*to.Sub(from) {
			to = newest
		}
		if err := d.tell(ctx, from, to, now); err != nil {
			return err
		}
		from = to
	}
}

// last is the end of the period that was told last, zero: none was.
func (d *digest) last(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var id string
	if err := d.db.conn.QueryRow(ctx, digestLastSQL, clickhouse.Named("sink", d.name)).Scan(&id); err != nil {
		return time.Time{}, fmt.Errorf("read deliveries: %w", err)
	}
	if id == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, strings.TrimPrefix(id, digestID))
	if err != nil {
		return time.Time{}, fmt.Errorf("read deliveries: digest %q: %w", id, err)
	}
	return t, nil
}

func (d *digest) row(to time.Time, status string, attempts int, now time.Time, text string) row {
	return row{alert: digestID + to.UTC().Format(time.RFC3339), revision: 1, sink: d.name, status: status, severity: alert.Info, attempts: uint32(attempts), err: text,
		at: now.UTC().Truncate(time.Millisecond)}
}

// tell sends the digest of one period, unless there is nothing to tell.
func (d *digest) tell(ctx context.Context, from, to, now time.Time) error {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	c, err := d.read(look, from, to)
	if err != nil {
		return err
	}
	if len(c.Groups) == 0 {
		return d.db.write(look, d.row(to, delivered, 0, now, ""))
	}
	msg, err := d.compose(c, now)
	if err != nil {
		return fmt.Errorf("write digest: %w", err)
	}
	d.failures++
	if err := d.db.write(look, d.row(to, pending, d.failures, now, "")); err != nil {
		return err
	}
	sending, stop := context.WithTimeout(context.WithoutCancel(ctx), d.timeout)
	defer stop()
	err = d.email.carry(sending, msg)
	text := ""
	if err != nil {
		text = errorText(err, d.secrets)
	}
	if d.since.IsZero() {
		d.since = now
	}
	status := delivered
	if err != nil {
		d.metrics.attempts.WithLabelValues(d.name, "failed").Inc()
		if now.Sub(d.since) < d.cfg.GiveUpAfter || d.failures < d.cfg.GiveUpAttempts {
			return err
		}
		status = gaveUp
		d.log.Warn("digest given up", "period", to, "attempts", d.failures, "error", text)
	} else {
		d.metrics.attempts.WithLabelValues(d.name, "ok").Inc()
	}
	store, end := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer end()
	if err := d.db.write(store, d.row(to, status, d.failures, now.Add(time.Millisecond), text)); err != nil {
		return err
	}
	d.metrics.messages.WithLabelValues(d.name, status).Inc()
	d.since, d.failures = time.Time{}, 0
	return nil
}

// content is what a digest tells.
type content struct {
	From, To  string
	end       time.Time
	Alerts    uint64
	Gone      uint64
	Groups    []group
	List      []entry
	Truncated bool
	Link      string
}

// group is one detector and severity of a digest.
type group struct {
	Detector, Severity          string
	Alerts, Gone                uint64
	Actors, Victims             uint64
	First, Last                 time.Time
	Some                        []string
	ActorsText, FirstAt, LastAt string
}

// entry is an alert of a digest.
type entry struct{ Title, Detector, Severity, Start, Link string }

func (d *digest) read(ctx context.Context, from, to time.Time) (*content, error) {
	const form = "2006-01-02 15:04 MST"
	c := &content{From: from.In(d.loc).Format(form), To: to.In(d.loc).Format(form), end: to, Link: d.cfg.console()}
	args := []any{clickhouse.Named("from", stamp(from)), clickhouse.Named("to", stamp(to)), clickhouse.Named("severities", d.severities)}
	rows, err := d.db.conn.Query(ctx, digestSQL, args...)
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var g group
		if err := rows.Scan(&g.Detector, &g.Severity, &g.Alerts, &g.Gone, &g.Actors, &g.Victims, &g.First, &g.Last, &g.Some); err != nil {
			return nil, fmt.Errorf("read alerts: %w", err)
		}
		for i, a := range g.Some {
			g.Some[i] = line(a, 80, "unknown")
		}
		g.Detector = line(g.Detector, 64, "unknown")
		g.ActorsText = strings.Join(g.Some, ", ")
		if g.Actors > uint64(len(g.Some)) {
			g.ActorsText += fmt.Sprintf(" and %d more", g.Actors-uint64(len(g.Some)))
		}
		g.FirstAt, g.LastAt = g.First.In(d.loc).Format(form), g.Last.In(d.loc).Format(form)
		c.Alerts, c.Gone, c.Groups = c.Alerts+g.Alerts, c.Gone+g.Gone, append(c.Groups, g)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	list, err := d.db.conn.Query(ctx, digestListSQL, args...)
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	defer list.Close()
	for list.Next() {
		var a alert.Alert
		var severity string
		if err := list.Scan(&a.ID, &a.Title, &a.Detector, &severity, &a.Start); err != nil {
			return nil, fmt.Errorf("read alerts: %w", err)
		}
		m := message{Alert: a, console: d.cfg.console()}
		c.List = append(c.List, entry{line(a.Title, 200, "alert"), line(a.Detector, 64, "unknown"), severity, a.Start.In(d.loc).Format(form), m.link()})
	}
	c.Truncated = uint64(len(c.List)) < c.Alerts
	return c, list.Err()
}

// compose writes the mail. The same period has the same Message-ID each time.
func (d *digest) compose(c *content, now time.Time) (*mail.Msg, error) {
	msg, domain, err := d.email.envelope(now)
	if err != nil {
		return nil, err
	}
	id := digestID + c.end.UTC().Format("20060102T150405Z")
	msg.SetMessageIDWithValue(fmt.Sprintf("%s.%s@%s", id, d.name, domain))
	msg.SetGenHeader("X-Tapwatch-Key", id)
	msg.Subject(fmt.Sprintf("[tapwatch] digest: %d alerts of %s until %s", c.Alerts, strings.Join(slices.Clone(d.severities), ", "), c.To))
	var plain strings.Builder
	fmt.Fprintf(&plain, "%s to %s: %d alerts", c.From, c.To, c.Alerts)
	if c.Gone > 0 {
		fmt.Fprintf(&plain, ", %d withdrawn", c.Gone)
	}
	plain.WriteString("\n\n")
	for _, g := range c.Groups {
		fmt.Fprintf(&plain, "%s (%s): %d alerts, %d actors (%s), %d victims\n", g.Detector, g.Severity, g.Alerts, g.Actors, g.ActorsText, g.Victims)
	}
	plain.WriteString("\n")
	for _, e := range c.List {
		fmt.Fprintf(&plain, "%s  %s  %s\n", e.Start, e.Severity, e.Title)
	}
	if c.Truncated {
		plain.WriteString("and more: see the console\n")
	}
	if c.Link != "" {
		fmt.Fprintf(&plain, "\n%s/\n", c.Link)
	}
	var rich strings.Builder
	if err := d.page.Execute(&rich, c); err != nil {
		return nil, err
	}
	if rich.Len() > maxPayload {
		return nil, errors.New("it is too large")
	}
	msg.SetBodyString(mail.TypeTextPlain, plain.String())
	msg.AddAlternativeString(mail.TypeTextHTML, rich.String())
	return msg, nil
}

// digestPage shows the same as the plain text; html/template escapes.
const digestPage = `<!DOCTYPE html>
<html><body>
<h2>{{.Alerts}} alerts{{if .Gone}}, {{.Gone}} withdrawn{{end}}</h2>
<p>{{.From}} to {{.To}}</p>
<table border="1" cellpadding="4" cellspacing="0"><tr><th align="left">Detector</th><th align="left">Severity</th><th align="right">Alerts</th><th align="left">Actors</th><th align="right">Victims</th></tr>
{{range .Groups}}<tr><td>{{.Detector}}</td><td>{{.Severity}}</td><td align="right">{{.Alerts}}</td><td>{{.ActorsText}}</td><td align="right">{{.Victims}}</td></tr>
{{end}}</table>
<ul>{{range .List}}<li>{{.Start}} {{.Severity}}: {{if .Link}}<a href="{{.Link}}">{{.Title}}</a>{{else}}{{.Title}}{{end}}</li>
{{end}}</ul>
{{if .Truncated}}<p>and more: see the console</p>{{end}}
</body></html>
`

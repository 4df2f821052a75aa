package retro

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// Detector is the name of the alerts of sweeps.
const Detector = "retro_hit"

// detectorVersion grows when the same hits may make other alerts.
const detectorVersion = 1

// ever joins all that one list says of a host: history is one window.
const ever = 100 * 365 * 24 * time.Hour

// heavy is how many octets of traffic with something listed raise the severity.
const heavy = 25e6

// wide is how many hosts may meet an indicator before it is one matter of its own:
// what half of the house calls is a popular service on a list, or one outbreak.
const wide = 25

// contact is a row of evidence.sql.
type contact struct {
	host, list, about               string // about: the indicator that many met, empty: what one host did
	contact, confidence             float64
	indicators, hosts, flows, bytes uint64
	began, ended                    time.Time
	listed, named                   []string
}

func (x *contact) scan(rows driver.Rows) error {
	return rows.Scan(&x.host, &x.list, &x.about, &x.contact, &x.confidence, &x.indicators, &x.hosts, &x.flows, &x.bytes, &x.began, &x.ended, &x.listed, &x.named)
}

// raise makes an alert of each host and list that a sweep found, or brings the
// one that is there up to date.
func (s *Sweeper) raise(ctx context.Context, w *Sweep) error {
	if w.Hits == 0 {
		return nil
	}
	c, err := s.store.Coverage(ctx, w.ID)
	if err != nil {
		return err
	}
	var found []alert.Alert
	flush := func() error {
		if len(found) == 0 {
			return nil
		}
		_, err := s.alerts.Raise(ctx, found)
		found = found[:0]
		return err
	}
	sql := statement("evidence")
	err = each(ctx, s.conn, sql, func(rows driver.Rows) error {
		var x contact
		if err := x.scan(rows); err != nil {
			return err
		}
		if found = append(found, alertOf(&x, c, sql)); len(found) < 500 {
			return nil
		}
		return flush()
	}, clickhouse.Named("sweep", w.ID), clickhouse.Named("host", ""), clickhouse.Named("list", ""), clickhouse.Named("about", ""), clickhouse.Named("wide", wide))
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("raise alerts: %w", err)
	}
	return nil
}

// alertOf judges what a host had to do with a list. It is a pure function.
func alertOf(x *contact, c Coverage, sql string) alert.Alert {
	host := ""
	if a, err := netip.ParseAddr(x.host); err == nil && !a.IsUnspecified() {
		host = a.Unmap().String()
	}
	who := host
	switch {
	case x.about != "":
		who = fmt.Sprintf("%d hosts", x.hosts)
	case host == "":
		who = "a host that is not stored any more"
	}
	a := alert.Alert{Detector: Detector, Version: detectorVersion, Gap: ever, Actor: host, Techniques: []string{"T1071"},
		Entities: []string{"list=" + x.list}, Start: x.began, End: x.ended, WindowStart: time.Unix(0, 0), WindowEnd: time.Unix(0, 0),
		Score: x.contact * (1 + x.confidence) / 2, Confidence: x.confidence, Magnitude: float64(x.indicators), Completeness: c.Share,
		SubScores:   map[string]float64{"contact": x.contact, "confidence_said": x.confidence, "indicators": float64(x.indicators)},
		EvidenceSQL: sql, EvidenceParams: map[string]string{"sweep": "", "host": x.host, "list": x.list, "about": x.about, "wide": fmt.Sprint(wide)}}
	switch {
	case x.about != "":
		a.Entities = append(a.Entities, "indicator="+x.about)
		a.SubScores["hosts"] = float64(x.hosts)
		a.Magnitude = float64(x.hosts)
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d hosts met it, more than %d: one matter for all of them", x.hosts, wide))
	case host != "":
		a.Entities = append(a.Entities, "actor="+host)
	default:
		a.Entities = append(a.Entities, "actor=unknown")
	}
	if len(x.named) == 1 {
		a.Victim = x.named[0]
	}
	severity := 0 // of alert.Severities
	switch {
	case x.contact >= 1:
		severity = 3
		a.Reasons = append(a.Reasons, fmt.Sprintf("%s began connections to what is listed, and was answered", who))
	case x.contact >= .7:
		severity = 2
		a.Reasons = append(a.Reasons, fmt.Sprintf("%s asked for what is listed, or its client or the server's certificate is listed", who))
	case x.contact >= .5:
		severity = 1
		a.Reasons = append(a.Reasons, fmt.Sprintf("what is listed began connections to %s, and was answered", who))
		a.Techniques = []string{"T1595", "T1071"}
	default:
		a.Reasons = append(a.Reasons, fmt.Sprintf("what is listed tried to reach %s, and got no answer", who))
		a.Techniques = []string{"T1595"}
	}
	if x.confidence < .5 && severity > 1 {
		severity--
		a.Reasons = append(a.Reasons, fmt.Sprintf("the list is only %.0f %% sure: one step less", 100*x.confidence))
	}
	if float64(x.bytes) >= heavy && severity > 0 && x.contact >= .5 {
		severity = min(severity+1, 4)
		a.Reasons = append(a.Reasons, fmt.Sprintf("%.1f MB went to and fro, %.0f MB raise it", float64(x.bytes)/1e6, heavy/1e6))
	}
	a.Severity = alert.Severities()[severity]
	a.Reasons = append(a.Reasons, fmt.Sprintf("%d listed by %s: %s, in %d connections, from %s to %s", x.indicators, x.list, some(x.listed, x.indicators), x.flows,
		x.began.UTC().Format(time.DateTime), x.ended.UTC().Format(time.DateTime)), c.Text())
	a.Title = fmt.Sprintf("%s had to do with %s, which %s lists", who, some(x.named, uint64(len(x.named))), x.list)
	a.Unless = []string{"the indicator had not been on the list " + x.list, "an exclusion of the host or of the name"}
	if x.contact < .7 {
		a.Unless = append(a.Unless, "no packet from what is listed: nobody inside asked for it")
	}
	return a
}

// some names a few of many.
func some(list []string, n uint64) string {
	const few = 3
	if len(list) > few {
		list = list[:few]
	}
	text := strings.Join(list, ", ")
	if more := int(n) - len(list); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Text says in a sentence what was looked through.
func (c Coverage) Text() string {
	days := 0
	for _, n := range c.Verdicts {
		days += n
	}
	if days == 0 {
		return "nothing is stored that could be looked through"
	}
	text := fmt.Sprintf("looked through %d days", days-c.Verdicts[Lost])
	for _, v := range []struct{ name, text string }{{Complete, "complete"}, {Partial, "in part"}, {Addresses, "by pairs of addresses only"}} {
		if n := c.Verdicts[v.name]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, v.text)
		}
	}
	if n := c.Verdicts[Lost]; n > 0 {
		text += fmt.Sprintf("; nothing is left of %d days", n)
	}
	if !math.IsNaN(c.Share) {
		text += fmt.Sprintf("; %.2f %% of the packets seen are in what was looked through", 100*c.Share)
	}
	return text
}

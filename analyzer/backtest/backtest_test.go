package backtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect/catalogue"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/detect/recon"
	"github.com/tapwatch/tapwatch/analyzer/exclusion"
	"github.com/tapwatch/tapwatch/analyzer/incident"
	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/analyzer/rule"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

// What a back-test says is what the scheduler does with the same parameters, and
// nothing is written; verdicts make proposals that drop what was false.
func TestBacktest(t *testing.T) {
	conn := localtest.Tables(t)
	ctx := context.Background()
	start, flows, err := detecttest.ParseFlows(`start 2026-03-02T10:00:00Z
at=+2m n=40 every=500ms src=10.0.0.66 dst=10.0.1.5 port={i+1} state=REJ
at=+2m n=16 every=500ms src=10.0.0.67 dst=10.0.1.5 port={i+1} state=REJ
at=+4h n=12 every=500ms src=10.0.0.69 dst=10.0.1.6 port={i+1} state=REJ
at=+5h n=9 every=500ms src=10.0.0.68 dst=10.0.1.6 port={i+1} state=REJ`)
	if err != nil {
		t.Fatal(err)
	}
	detecttest.Load(t, conn, start, flows, 1)
	cfg := catalogue.DefaultConfig()
	cfg.Inside = detecttest.Own().Inside
	all := recon.All(detecttest.Own(), cfg.Recon)
	b := New(conn)
	from, to := start.Truncate(24*time.Hour), start.Truncate(24*time.Hour).Add(24*time.Hour)

	before, err := b.Detector(ctx, all[0], from, to)
	if err != nil {
		t.Fatal(err)
	}
	localtest.Expect(t, conn, "SELECT (SELECT count() FROM alerts) + (SELECT count() FROM alert_findings) + (SELECT count() FROM job_runs)", 0)
	detecttest.Catchup(t, conn, all[:1])
	stored := detecttest.Stored(t, conn)
	if len(before.Incidents) != 3 || len(stored) != 3 || before.Known != 0 || before.Actors != 3 || before.Victims != 2 || before.BySeverity[alert.Medium] != 3 || before.Took <= 0 || before.Looked > before.Windows {
		t.Errorf("%d incidents, %d are then raised: %s", len(before.Incidents), len(stored), brief(before))
	}
	for i := range min(len(stored), len(before.Incidents)) {
		if a, s := before.Incidents[i], stored[i]; a.ID != s.ID || a.Magnitude != s.Magnitude || a.Score != s.Score {
			t.Errorf("%s of %v would have been, and %s of %v is", a.ID, a.Magnitude, s.ID, s.Magnitude)
		}
	}
	for i := range stored {
		if diff, err := incident.Verify(ctx, conn, &stored[i]); err != nil || len(diff) > 0 {
			t.Errorf("%s: its evidence: %v, %v", stored[i].Title, diff, err)
		}
	}
	broken := stored[0]
	broken.SubScores = map[string]float64{"breadth": .99, "more": 1}
	if diff, err := incident.Verify(ctx, conn, &broken); err != nil || len(diff) != 2 {
		t.Errorf("other sub-scores: %v, %v", diff, err)
	}
	broken.EvidenceSQL = "DROP TABLE alerts"
	if _, err := incident.Verify(ctx, conn, &broken); err == nil {
		t.Error("evidence that is no question is run")
	}
	after, err := b.Detector(ctx, all[0], from, to)
	if err != nil || after.Known != 3 || after.Lost != 0 {
		t.Errorf("%s, %v", brief(after), err)
	}

	rules, wrong := rule.Load(os.DirFS("testdata"), query.New())
	if len(rules) != 1 {
		t.Fatal(wrong)
	}
	p, err := b.Detector(ctx, rules[0].Detector(), from, to)
	if err != nil || len(p.Incidents) != 3 || p.Known != 0 || p.Similar != 3 || len(p.Top(5)) != 3 {
		t.Errorf("a rule: %s, %v", brief(p), err)
	}

	one, err := exclusion.ParseNetwork("10.0.0.67")
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.Exclusion(ctx, exclusion.Exclusion{Networks: []netip.Prefix{one}}, cfg.Inside, from, to)
	if err != nil || len(e.Incidents) != 1 || e.Candidates != 3 || e.Actors != 1 {
		t.Errorf("an exclusion: %s, %v", brief(e), err)
	}

	if _, err := b.Propose(ctx, cfg, "portscan_vertical", from, to); !errors.Is(err, ErrNoVerdicts) {
		t.Errorf("without verdicts: %v", err)
	}
	people := incident.NewStore(conn)
	for _, s := range stored {
		verdict := incident.False
		if s.Magnitude == 40 {
			verdict = incident.True
		}
		if _, err := people.Add(ctx, s.ID, "ann", incident.Verdict, verdict, ""); err != nil {
			t.Fatal(err)
		}
	}
	proposals, err := b.Propose(ctx, cfg, "portscan_vertical", from, to)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range proposals {
		if p.FalseGone == 0 || p.TrueLost > 0 {
			t.Errorf("%s %s: %d false ones gone, %d true ones lost", p.Parameter, p.New, p.FalseGone, p.TrueLost)
		}
		if p.Parameter == "detect.recon.portscan_vertical.min_ports" {
			found = true
			if p.Now != "10" || p.New != "20" || p.FalseGone != 2 || p.FalseLeft != 0 || p.TrueKept != 1 || len(p.Price.Incidents) != 1 {
				t.Errorf("%s in place of %s: %d gone, %d left, %d kept, %s", p.New, p.Now, p.FalseGone, p.FalseLeft, p.TrueKept, brief(p.Price))
			}
		}
	}
	if !found {
		t.Errorf("no proposal for min_ports among %d", len(proposals))
	}
	if !reflect.DeepEqual(cfg.Recon, recon.DefaultConfig()) {
		t.Error("the configuration was changed")
	}
}

// brief is a Price for errors.
func brief(p Price) string {
	text := fmt.Sprintf("%d incidents, %v, %d actors, %d victims, %d known, %d similar, %d lost, %d candidates;", len(p.Incidents), p.BySeverity, p.Actors, p.Victims, p.Known, p.Similar, p.Lost, p.Candidates)
	for _, a := range p.Incidents {
		text += " " + a.Title + ";"
	}
	return text
}

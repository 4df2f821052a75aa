package model_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/model"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

// Flows come from the database with the class that is asked for; two probes' flow
// comes once, and flows of confirmed incidents have the name of their detector.
func TestRead(t *testing.T) {
	conn := localtest.Tables(t)
	start, rows, err := detecttest.ParseFlows(`start 2026-03-02T10:00:00Z
n=20 every=1m src=10.0.0.{i+1} dst=203.0.113.1 port=443 app=tls app_source=dpi service=shop sni=www.example out=900 in=900 tls_alpn=h2 first_sizes=517,-1400,100 first_gaps_us=0,5,6
n=20 every=1m src=10.0.0.{i+1} dst=203.0.113.1 port=443 app=tls app_source=dpi service=shop sni=www.example out=900 in=900 tls_alpn=h2 first_sizes=517,-1400,100 first_gaps_us=0,5,6 probe=p2
n=10 every=1m src=10.0.0.66 dst=198.51.100.9 port=8080 app=unknown out=900 in=900 first_sizes=50,-50,50 first_gaps_us=0,5,6
n=10 every=1m at=2h src=10.0.0.66 dst=198.51.100.9 port=8080 app=tls app_source=port out=900 in=900 first_sizes=50,-50,50 first_gaps_us=0,5,6
n=10 every=1m src=10.0.0.67 dst=198.51.100.9 port=80 app=http app_source=dpi out=900 in=900 first_sizes=50,-50 first_gaps_us=0,5
`)
	if err != nil {
		t.Fatal(err)
	}
	detecttest.Load(t, conn, start, rows, 1)
	for _, sql := range []string{
		`INSERT INTO alerts (id, revision, detector, actor, victim, start, end) VALUES
			('a', 1, 'beacon', '10.0.0.66', '198.51.100.9', '2026-03-02 10:00:00', '2026-03-02 11:00:00'),
			('b', 1, 'scan', '10.0.0.1', '', '2026-03-02 10:00:00', '2026-03-02 11:00:00')`,
		`INSERT INTO incident_events (alert, id, at, kind, value) VALUES ('a', '1', '2026-03-03 00:00:00', 'verdict', 'false'), ('a', '2', '2026-03-03 01:00:00', 'verdict', 'true'),
			('b', '3', '2026-03-03 00:00:00', 'verdict', 'true'), ('b', '4', '2026-03-03 01:00:00', 'verdict', 'false')`,
	} {
		localtest.Exec(t, conn, sql)
	}
	span := detect.Window{Start: start, End: start.Add(24 * time.Hour)}
	for _, c := range []struct {
		source model.Source
		want   map[string]int
	}{
		{model.Source{Label: model.LabelApp}, map[string]int{"tls": 20}},
		{model.Source{Label: model.LabelService}, map[string]int{"shop": 20}},
		{model.Source{Label: model.LabelMalicious}, map[string]int{"beacon": 10, "benign": 20}},
		{model.Source{Label: model.LabelNone}, map[string]int{"": 40}},
		{model.Source{Label: model.LabelFile, Labels: model.Labels{"198.51.100.9": "bad", "www.example": "good"}}, map[string]int{"bad": 20, "good": 20}},
	} {
		c.source.Limit, c.source.Seed = 1000, 1<<63
		list, err := c.source.Read(context.Background(), conn, span)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, l := range list {
			got[l.Class]++
			if !strings.Contains(l.Host, l.Flow.Host) || l.ID == "" || len(l.Flow.FirstSizes) != 3 || len(l.Flow.FirstGaps) != 3 {
				t.Fatalf("%+v", l)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", c.source.Label, got, c.want)
		}
		for class, n := range c.want {
			if got[class] != n {
				t.Errorf("%s: %v, want %v", c.source.Label, got, c.want)
			}
		}
		c.source.Limit = 7
		if list, err := c.source.Read(context.Background(), conn, span); err != nil || len(list) > 7 {
			t.Errorf("%s: %d flows of a limit of 7, %v", c.source.Label, len(list), err)
		}
	}
}

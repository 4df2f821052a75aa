package detecttest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/tools/txtar"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/incident"
	"github.com/tapwatch/tapwatch/analyzer/schedule"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/rollup"
)

// Own are the networks of the scenarios: private addresses, nobody exempt.
func Own() detect.Own {
	return detect.Own{Inside: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
	}}
}

// Catchup builds the rollups that detectors read, and judges all that is stored.
func Catchup(t testing.TB, conn driver.Conn, detectors []detect.Detector) {
	t.Helper()
	for _, d := range detectors {
		if len(d.Info().Rollups) > 0 {
			Rollup(t, conn)
			break
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := schedule.New(schedule.DefaultConfig(), conn, detectors, log, nil, nil).Catchup(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// Rollup builds all rollups of what is stored.
func Rollup(t testing.TB, conn driver.Conn) {
	t.Helper()
	var err error
	for range 3 { // as the collector does: what fails is tried again
		if err = rollup.Once(context.Background(), conn); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// Stored returns all alerts, earliest first.
func Stored(t testing.TB, conn driver.Conn) []alert.Alert {
	t.Helper()
	rows, err := conn.Query(context.Background(), "SELECT id FROM alerts FINAL ORDER BY start, id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	list, err := alert.NewStore(conn).Get(context.Background(), ids)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b alert.Alert) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	return list
}

// Scenarios runs testdata/*.txtar, NAME.txtar and NAME_anything.txtar being about
// the detector NAME. What a scenario expects is all that the detectors may raise:
// negative twins expect nothing, or nothing above low. Every alert has to keep
// what alerts promise, its evidence included, and a second run must change
// nothing. With TAPWATCH_E2E=full all detectors judge each scenario, and twice; else
// those that it is about or expects something of do, one is judged twice, and those
// whose text begins with "Long." are left out.
func Scenarios(t *testing.T, family []detect.Detector) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	conn := localtest.Tables(t)
	judgedTwice := false
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(string(archive.Comment), "Long. ") && !full() {
				t.Skip("a long scenario: TAPWATCH_E2E=full runs it")
			}
			part := map[string]string{}
			for _, f := range archive.Files {
				part[f.Name] = string(f.Data)
			}
			start, rows, err := ParseFlows(part["flows"])
			if err != nil {
				t.Fatal(err)
			}
			detectors := concerned(family, name, part["alerts"])
			empty(t, conn)
			Load(t, conn, start, rows, 1)
			derive(t, conn)
			Catchup(t, conn, detectors)
			alerts := Stored(t, conn)
			var got []string
			for _, a := range alerts {
				got = append(got, fmt.Sprintf("%s %s %s", a.Detector, a.Severity, strings.Join(a.Entities, " ")))
				t.Logf("%s %s: %s; score %.2f %v; %s", a.Detector, a.Severity, a.Title, a.Score, a.SubScores, strings.Join(a.Reasons, "; "))
			}
			slices.Sort(got)
			var want []string
			for line := range strings.Lines(part["alerts"]) {
				if line = strings.TrimSpace(line); line != "" {
					want = append(want, line)
				}
			}
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("alerts (-got +want)\n-%s\n+%s", strings.Join(got, "\n-"), strings.Join(want, "\n+"))
			}
			for _, a := range alerts {
				checkAlert(t, conn, a)
			}
			if full() || !judgedTwice && len(alerts) > 0 {
				judgedTwice = true
				again(t, conn, detectors, alerts)
			}
		})
	}
}

// full says that the long form of tests is wanted.
func full() bool { return os.Getenv("TAPWATCH_E2E") == "full" }

// concerned returns the detectors that are to judge a scenario.
func concerned(family []detect.Detector, scenario, expected string) []detect.Detector {
	if full() {
		return family
	}
	about := ""
	for _, d := range family {
		if name := d.Info().Name; (scenario == name || strings.HasPrefix(scenario, name+"_")) && len(name) > len(about) {
			about = name
		}
	}
	var list []detect.Detector
	for _, d := range family {
		if name := d.Info().Name; name == about || strings.Contains("\n"+expected, "\n"+name+" ") {
			list = append(list, d)
		}
	}
	return list
}

// empty takes all rows out of all tables, which is quicker than to make them anew.
func empty(t *testing.T, conn driver.Conn) {
	t.Helper()
	rows, err := conn.Query(context.Background(), `SELECT name FROM system.tables
		WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND total_rows > 0 AND name != 'schema_migrations' ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		localtest.Exec(t, conn, "TRUNCATE TABLE "+clickhouse.Identifier(name)+" SYNC")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// checkAlert holds an alert to what every alert promises.
func checkAlert(t *testing.T, conn driver.Conn, a alert.Alert) {
	t.Helper()
	if a.Completeness != 1 {
		t.Errorf("%s: completeness %v of a ledger without loss", a.Title, a.Completeness)
	}
	if a.Score <= 0 || a.Score > 1 || a.Confidence <= 0 || a.Confidence > 1 || a.Magnitude <= 0 || len(a.Reasons) == 0 || len(a.FlowIDs) == 0 || a.Provisional {
		t.Errorf("%s: incomplete: %+v", a.Title, a)
	}
	if a.Start.IsZero() || a.End.Before(a.Start) {
		t.Errorf("%s: from %v to %v", a.Title, a.Start, a.End)
	}
	if differences, err := incident.Verify(context.Background(), conn, &a); err != nil || len(differences) > 0 {
		t.Errorf("%s: evidence: %v, %v", a.Title, differences, err)
	}
}

// again forgets what was done and judges everything a second time: nothing may
// change.
func again(t *testing.T, conn driver.Conn, detectors []detect.Detector, before []alert.Alert) {
	t.Helper()
	if err := conn.Exec(context.Background(), "TRUNCATE TABLE job_runs"); err != nil {
		t.Fatal(err)
	}
	Catchup(t, conn, detectors)
	after := Stored(t, conn)
	if len(after) != len(before) {
		t.Errorf("a second run makes %d alerts of %d", len(after), len(before))
		return
	}
	for i := range after {
		if after[i].ID != before[i].ID || after[i].Revision != before[i].Revision {
			t.Errorf("a second run changes %s revision %d to %s revision %d", before[i].ID, before[i].Revision, after[i].ID, after[i].Revision)
		}
	}
}

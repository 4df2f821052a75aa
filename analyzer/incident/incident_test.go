package incident

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

var (
	inside   = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	midnight = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
)

// made is an alert of a detector: from so many hours after midnight on, for so long.
func made(id, detector, technique string, severity alert.Severity, actor, victim string, hours, length float64) *alert.Alert {
	start := midnight.Add(time.Duration(hours * float64(time.Hour)))
	return &alert.Alert{ID: id, Detector: detector, Version: 1, Techniques: []string{technique}, Severity: severity, Score: .5, Confidence: .9, Magnitude: 1, Title: id,
		Actor: actor, Victim: victim, Entities: []string{"actor=" + actor, "victim=" + victim}, Start: start, End: start.Add(time.Duration(length * float64(time.Hour))),
		WindowStart: start.Truncate(time.Hour), WindowEnd: start.Truncate(time.Hour).Add(time.Hour), Completeness: 1, FlowIDs: []string{"p/1/0/" + id},
		SubScores: map[string]float64{"x": 1}, EvidenceSQL: "SELECT toFloat64({x:Int8}) AS x", EvidenceParams: map[string]string{"x": "1"}}
}

func TestCases(t *testing.T) {
	const host, server, outside = "10.0.0.5", "10.0.1.9", "203.0.113.7"
	scan := func(at float64) *alert.Alert {
		return made("scan", "portscan_vertical", "T1046", alert.Medium, host, server, at, .5)
	}
	exfil := func(at float64) *alert.Alert {
		return made("exfil", "exfiltration", "T1048", alert.High, host, outside, at, 1)
	}
	beacon := func(at float64) *alert.Alert {
		return made("beacon", "beacon", "T1071.001", alert.Medium, host, outside, at, 10)
	}
	with := func(a *alert.Alert, change func(*alert.Alert)) *alert.Alert { change(a); return a }
	tests := []struct {
		name   string
		alerts []*alert.Alert
		want   []string // entity, severity and alerts
	}{
		{"nothing", nil, nil},
		{"one alert", []*alert.Alert{exfil(10)}, nil},
		{"two tactics", []*alert.Alert{scan(9), exfil(10)}, []string{"10.0.0.5 medium scan exfil"}},
		{"three tactics", []*alert.Alert{scan(9), beacon(9.2), exfil(10)}, []string{"10.0.0.5 high scan beacon exfil"}},
		{"two hosts", []*alert.Alert{scan(9), with(exfil(10), func(a *alert.Alert) { a.Actor = "10.0.0.6" })}, nil},
		{"more than a day apart", []*alert.Alert{scan(-20), with(exfil(10), func(a *alert.Alert) { a.Severity = alert.Critical })}, nil},
		{"within a day, and worth something by itself", []*alert.Alert{scan(2), exfil(12)}, []string{"10.0.0.5 medium scan exfil"}},
		{"two low ones", []*alert.Alert{with(scan(9), func(a *alert.Alert) { a.Severity = alert.Low }), with(exfil(10), func(a *alert.Alert) { a.Severity = alert.Low })}, nil},
		{"two tactics of one alert", []*alert.Alert{made("tunnel", "dns_tunnel", "T1071.004", alert.High, host, outside, 9, 1)}, nil},
		{"one detector, many times", []*alert.Alert{exfil(9), with(exfil(10), func(a *alert.Alert) { a.ID = "again" })}, nil},
		{"suppressed", []*alert.Alert{with(scan(9), func(a *alert.Alert) { a.SuppressedBy = "exclusion:x" }), exfil(10)}, nil},
		{"withdrawn", []*alert.Alert{scan(9), with(exfil(10), func(a *alert.Alert) { a.Withdrawn = true })}, nil},
		{"done to it, then by it", []*alert.Alert{made("guess", "brute_force", "T1110", alert.High, outside, host, 8, 1), beacon(8.5)}, []string{"10.0.0.5 medium guess beacon"}},
		{"done by it, then to it", []*alert.Alert{exfil(8), made("guess", "brute_force", "T1110", alert.High, outside, host, 10, 1)}, nil},
		{"background at a server", []*alert.Alert{made("probe", "portscan_vertical", "T1595.001", alert.Info, outside, server, 8, 1), made("guess", "brute_force", "T1110", alert.Medium, "203.0.113.8", server, 8, 1)}, nil},
		{"another day's", []*alert.Alert{scan(-4), with(exfil(-3), func(a *alert.Alert) { a.ID = "old" })}, nil},
	}
	for _, test := range tests {
		for range 3 {
			rand.Shuffle(len(test.alerts), func(i, j int) { test.alerts[i], test.alerts[j] = test.alerts[j], test.alerts[i] })
			var got []string
			for _, c := range Cases(DefaultCaseConfig(), inside, midnight, test.alerts) {
				got = append(got, c.Actor+" "+string(c.Severity)+" "+strings.Join(c.Related, " "))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: %q, want %q", test.name, got, test.want)
			}
		}
	}
}

func TestExplained(t *testing.T) {
	const host, server, outside = "10.0.0.5", "10.0.1.9", "203.0.113.7"
	beacon := made("beacon", "beacon", "T1071", alert.Medium, host, server, 9, 2)
	guess := made("guess", "brute_force", "T1110", alert.Medium, host, server, 9, 2)
	tests := []struct {
		name   string
		alerts []*alert.Alert
		want   string
	}{
		{"by the brute force", []*alert.Alert{beacon, guess}, "beacon guess"},
		{"by a scan of its network", []*alert.Alert{beacon, made("sweep", "portscan_horizontal", "T1046", alert.Low, host, "10.0.1.0/24", 9, 2)}, "beacon sweep"},
		{"another victim", []*alert.Alert{beacon, made("guess", "brute_force", "T1110", alert.Medium, host, outside, 9, 2)}, ""},
		{"another actor", []*alert.Alert{beacon, made("guess", "brute_force", "T1110", alert.Medium, "10.0.0.6", server, 9, 2)}, ""},
		{"another time", []*alert.Alert{beacon, made("guess", "brute_force", "T1110", alert.Medium, host, server, 12, 2)}, ""},
		{"too mild", []*alert.Alert{made("beacon", "beacon", "T1071", alert.High, host, server, 9, 2), made("guess", "portscan_vertical", "T1110", alert.Low, host, server, 9, 2)}, ""},
		{"the same octets", []*alert.Alert{made("volume", "host_behaviour", "T1071", alert.Medium, host, "", 9, 1), made("exfil", "exfiltration", "T1048", alert.High, host, outside, 9, 1)}, "volume exfil"},
		{"the same packets", []*alert.Alert{made("packets", "packet_flood", "T1498", alert.High, "", server, 9, 1), made("syns", "syn_flood", "T1498", alert.High, "", server, 9, 1)}, "packets syns"},
		{"other packets", []*alert.Alert{made("packets", "packet_flood", "T1498", alert.High, "", server, 9, 1), made("syns", "syn_flood", "T1498", alert.High, "", host, 9, 1)}, ""},
		{"the same scan", []*alert.Alert{made("stealth", "stealth_scan", "T1046", alert.Medium, host, "", 9, 1), made("scan", "portscan_vertical", "T1046", alert.Medium, host, server, 9, 1)}, "stealth scan"},
		{"the flooded", []*alert.Alert{made("volume", "host_behaviour", "T1071", alert.Medium, server, "", 9, 1), made("flood", "syn_flood", "T1498", alert.High, "", server, 9, 1)}, "volume flood"},
	}
	for _, test := range tests {
		var got []string
		for id, by := range explained(test.alerts) {
			got = append(got, id+" "+by.ID)
		}
		if strings.Join(got, ",") != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// Alerts in the tables become a case whose proof holds, which follows what
// becomes of them, and is made once.
func TestKeeper(t *testing.T) {
	conn := localtest.Tables(t)
	ctx := context.Background()
	store := alert.NewStore(conn)
	keeper := func() *Keeper {
		return NewKeeper(DefaultCaseConfig(), conn, store, inside, slog.New(slog.DiscardHandler), nil)
	}
	k := keeper()
	raise := func(list ...*alert.Alert) (ids []string) {
		t.Helper()
		var found []alert.Alert
		for _, a := range list {
			found = append(found, *a)
		}
		r, err := store.Raise(ctx, found)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range r.Alerts {
			ids = append(ids, a.ID)
		}
		return ids
	}
	check := func(what, want string) {
		t.Helper()
		if err := k.Pass(ctx); err != nil {
			t.Fatal(err)
		}
		var got []string
		err := store.Each(ctx, time.Time{}, time.Time{}, func(a *alert.Alert) error {
			switch {
			case a.Detector != CaseDetector:
			case a.Withdrawn:
				got = append(got, "withdrawn")
			default:
				got = append(got, string(a.Severity))
				whole, err := store.Get(ctx, []string{a.ID})
				if err != nil || len(whole) != 1 {
					t.Fatal(whole, err)
				}
				if diff, err := Verify(ctx, conn, &whole[0]); err != nil || len(diff) > 0 {
					t.Errorf("%s: evidence: %v, %v", what, diff, err)
				}
			}
			return nil
		})
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: cases %q, want %q, %v", what, got, want, err)
		}
	}
	const host = "10.0.0.5"
	scan := raise(made("1", "portscan_vertical", "T1046", alert.Medium, host, "10.0.1.9", 9, .5))
	check("one alert", "")
	raise(made("2", "exfiltration", "T1048", alert.High, host, "203.0.113.7", 10, 1))
	check("two", "medium")
	k = keeper()
	check("another process", "medium")
	localtest.Expect(t, conn, "SELECT toUInt64(max(revision)) FROM alerts WHERE detector = 'case'", 1)
	beacon := raise(made("3", "beacon", "T1071.001", alert.Medium, host, "203.0.113.7", 8, 6))
	check("three", "high")
	raise(made("4", "brute_force", "T1110", alert.Medium, host, "203.0.113.7", 8, 6))
	check("the beacon is explained, and what explains it counts", "high")
	localtest.Expect(t, conn, "SELECT countIf(startsWith(suppressed_by, 'alert:')) FROM alerts FINAL WHERE detector = 'beacon'", 1)
	if _, err := store.Rewrite(ctx, append(scan, beacon...), func(a *alert.Alert) bool { a.Withdrawn = true; return true }); err != nil {
		t.Fatal(err)
	}
	check("the scan is withdrawn, two are left", "medium")
	localtest.Exec(t, conn, "INSERT INTO alerts SELECT * REPLACE (revision + 1 AS revision, 'exclusion:x' AS suppressed_by, now64(3) AS updated) FROM alerts FINAL WHERE detector = 'exfiltration'")
	check("and one of them is excluded", "withdrawn")
}

func TestEvents(t *testing.T) {
	conn := localtest.Tables(t)
	ctx := context.Background()
	alerts := alert.NewStore(conn)
	r, err := alerts.Raise(ctx, []alert.Alert{*made("1", "scan", "T1046", alert.Medium, "10.0.0.5", "10.0.1.9", 9, .5), *made("2", "scan", "T1046", alert.Medium, "10.0.0.6", "10.0.1.9", 9, .5)})
	if err != nil {
		t.Fatal(err)
	}
	one := r.Alerts[0]
	s := NewStore(conn)
	clock := time.Date(2026, 3, 3, 8, 0, 0, 0, time.UTC)
	s.now = func() time.Time { clock = clock.Add(time.Second); return clock }
	for _, e := range []struct {
		kind  Kind
		value string
	}{{Owner, "ann"}, {State, Acknowledged}, {Comment, "is the new backup; ' \\ \x00 ünïcode"}, {Verdict, False}, {Verdict, Benign}, {State, Closed}} {
		if _, err := s.Add(ctx, one.ID, "bob", e.kind, e.value, "why"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Add(ctx, "nobody", "bob", Owner, "ann", ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("an event of no incident: %v", err)
	}
	for _, e := range []Event{{Kind: State, Value: "done"}, {Kind: Verdict, Value: "maybe"}, {Kind: Comment}, {Kind: "colour", Value: "red"}, {Kind: Comment, Value: strings.Repeat("x", 10001)}} {
		if _, err := s.Add(ctx, one.ID, "bob", e.Kind, e.Value, ""); err == nil {
			t.Errorf("%s %.20q is taken", e.Kind, e.Value)
		}
	}
	status := func() map[string]Status {
		t.Helper()
		all, err := s.Statuses(ctx, r.Alerts)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := status()[one.ID]; got.Owner != "ann" || got.State != Closed || got.Verdict != Benign || got.Comments != 1 || got.Reopened || !got.Updated.Equal(time.Date(2026, 3, 3, 8, 0, 6, 0, time.UTC)) {
		t.Errorf("status %+v", got)
	}
	if got := status()[r.Alerts[1].ID]; got != (Status{State: Open}) {
		t.Errorf("untouched: %+v", got)
	}
	r.Alerts[0].Severity = alert.High
	if got := status()[one.ID]; got.State != Open || !got.Reopened {
		t.Errorf("after its severity rose: %+v", got)
	}
	history, err := s.History(ctx, one.ID)
	if err != nil || len(history) != 6 || history[2].Value != "is the new backup; ' \\ \x00 ünïcode" || history[0].Who != "bob" || history[0].Severity != alert.Medium {
		t.Errorf("history %+v, %v", history, err)
	}
	judged, err := s.Judgements(ctx, "scan", midnight, midnight.Add(day))
	if err != nil || !slices.Equal(judged, []Judgement{{one.ID, Benign}}) {
		t.Errorf("judgements %+v, %v", judged, err)
	}
}

package exclusion

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

func networks(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		n, err := ParseNetwork(s)
		if err != nil {
			panic(err)
		}
		out = append(out, n)
	}
	return out
}

var inside = networks("10.0.0.0/8", "fd00::/8")

func TestFits(t *testing.T) {
	scan := alert.Alert{Detector: "portscan_vertical", Actor: "10.0.0.5", Victim: "10.0.1.7", Entities: []string{"actor=10.0.0.5", "victim=10.0.1.7"}}
	beacon := alert.Alert{Detector: "beacon", Actor: "10.0.0.5", Victim: "203.0.113.9", Entities: []string{"actor=10.0.0.5", "ja4=t13d1516h2_8daaf6152771_b0da82dd1658", "port=443/tcp", "sni=cdn.Example.net", "victim=203.0.113.9"}}
	probe := alert.Alert{Detector: "portscan_horizontal", Actor: "198.51.100.4", Victim: "10.0.2.0/24", Entities: []string{"actor=198.51.100.4", "port=22/tcp"}}
	flows := []Sample{{Names: []string{"a.example.net"}, Port: 8443, JA4: "x"}, {Names: []string{"b.example.net", "c.org"}, Port: 8443, JA4: "x"}}
	tests := []struct {
		name    string
		e       Exclusion
		a       alert.Alert
		samples []Sample
		want    bool
	}{
		{"address of the actor", Exclusion{Networks: networks("10.0.0.5")}, scan, nil, true},
		{"address of the victim", Exclusion{Networks: networks("10.0.1.7")}, scan, nil, true},
		{"of neither", Exclusion{Networks: networks("10.0.1.8")}, scan, nil, false},
		{"network", Exclusion{Networks: networks("10.0.1.0/24")}, scan, nil, true},
		{"network of the actor only", Exclusion{Networks: networks("10.0.1.0/24"), Side: Actor}, scan, nil, false},
		{"both", Exclusion{Networks: networks("10.0.0.0/16"), Side: Both}, scan, nil, true},
		{"both, and one is not", Exclusion{Networks: networks("10.0.0.0/24"), Side: Both}, scan, nil, false},
		{"a network within", Exclusion{Networks: networks("10.0.0.0/16")}, probe, nil, true},
		{"a network that is larger", Exclusion{Networks: networks("10.0.2.0/25")}, probe, nil, false},
		{"detector", Exclusion{Detectors: []string{"portscan_*"}, Networks: networks("10.0.0.5")}, scan, nil, true},
		{"another detector", Exclusion{Detectors: []string{"portscan_*"}, Networks: networks("10.0.0.5")}, beacon, nil, false},
		{"name", Exclusion{Names: []string{"*.example.net"}}, beacon, nil, true},
		{"another name", Exclusion{Names: []string{"*.example.org"}}, beacon, nil, false},
		{"names of flows", Exclusion{Names: []string{"*.example.net"}}, scan, flows, true},
		{"names of some flows", Exclusion{Names: []string{"a.*"}}, scan, flows, false},
		{"no flows any more", Exclusion{Names: []string{"*.example.net"}}, scan, []Sample{}, false},
		{"port", Exclusion{Ports: []uint16{443}}, beacon, nil, true},
		{"another port", Exclusion{Ports: []uint16{22}}, beacon, nil, false},
		{"port of flows", Exclusion{Ports: []uint16{8443}}, scan, flows, true},
		{"ja4", Exclusion{JA4: []string{"t13d1516h2_8daaf6152771_b0da82dd1658"}}, beacon, nil, true},
		{"outbound", Exclusion{Direction: Outbound}, beacon, nil, true},
		{"internal", Exclusion{Direction: Internal}, scan, nil, true},
		{"inbound", Exclusion{Direction: Inbound}, probe, nil, true},
		{"not outbound", Exclusion{Direction: Outbound}, probe, nil, false},
		{"all of several", Exclusion{Networks: networks("10.0.0.5"), Ports: []uint16{443}, Direction: Outbound}, beacon, nil, true},
		{"all but one of several", Exclusion{Networks: networks("10.0.0.5"), Ports: []uint16{80}, Direction: Outbound}, beacon, nil, false},
	}
	for _, test := range tests {
		if got, needs := test.e.Fits(&test.a, inside, test.samples); got != test.want || needs {
			t.Errorf("%s: %v, needs %v, want %v", test.name, got, needs, test.want)
		}
	}
	if fits, needs := (&Exclusion{Ports: []uint16{1}}).Fits(&scan, inside, nil); fits || !needs {
		t.Errorf("without samples: %v, needs %v", fits, needs)
	}
}

func TestCheck(t *testing.T) {
	good := Exclusion{Networks: networks("10.0.0.5"), Owner: "ann", Comment: "backup"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Exclusion){
		"hide everything": func(e *Exclusion) { e.Networks = nil; e.Detectors = []string{"beacon"} },
		"owner":           func(e *Exclusion) { e.Owner = " " },
		"comment":         func(e *Exclusion) { e.Comment = "" },
		"no pattern":      func(e *Exclusion) { e.Names = []string{"[a"} },
		"side":            func(e *Exclusion) { e.Side = "left" },
		"direction":       func(e *Exclusion) { e.Direction = "up" },
		"not valid":       func(e *Exclusion) { e.Networks = []netip.Prefix{{}} },
	} {
		e := good
		change(&e)
		if err := e.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Past and present alerts are suppressed, and come back when the exclusion is
// removed or has expired; who did what stays on record.
func TestKeeper(t *testing.T) {
	conn := localtest.Tables(t)
	ctx := context.Background()
	start, flows, err := detecttest.ParseFlows(`start 2026-03-02T10:00:00Z
at=+1m n=3 src=10.0.0.9 dst=10.0.1.5 port=8080 out=100 in=100 ja4=t10d0000 http_host=Wiki.corp.example`)
	if err != nil {
		t.Fatal(err)
	}
	detecttest.Load(t, conn, start, flows, 1)
	var ids []string
	rows, err := conn.Query(ctx, "SELECT concat(probe, '/', toString(epoch), '/', toString(worker), '/', toString(flow_id)) FROM flows")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	rows.Close()
	store := alert.NewStore(conn)
	keeper := NewKeeper(conn, store, inside, slog.New(slog.DiscardHandler), nil)
	clock := time.Now()
	keeper.now = func() time.Time { return clock }
	store.Before(keeper.Before)
	raise := func(actor string, flows ...string) {
		t.Helper()
		_, err := store.Raise(ctx, []alert.Alert{{Detector: "scan", Version: 1, Severity: alert.Medium, Score: 1, Confidence: 1, Magnitude: 1, Actor: actor, Victim: "10.0.1.5",
			Entities: []string{"actor=" + actor, "victim=10.0.1.5"}, Start: start, End: start.Add(time.Hour), WindowStart: start, WindowEnd: start.Add(time.Hour), FlowIDs: flows}})
		if err != nil {
			t.Fatal(err)
		}
	}
	hidden := func(what string, want ...string) {
		t.Helper()
		if _, err := keeper.Pass(ctx); err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := conn.QueryRow(ctx, "SELECT arraySort(groupArray(actor)) FROM alerts FINAL WHERE suppressed_by != ''").Scan(&got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: hidden %v, want %v", what, got, want)
		}
	}
	exclusions := NewStore(conn)
	put := func(e Exclusion) Exclusion {
		t.Helper()
		e.Owner, e.Comment = "ann", "known"
		e, err := exclusions.Put(ctx, "bob", e)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}

	raise("10.0.0.8")
	raise("10.0.0.9", ids...)
	hidden("nothing is excluded")
	a := put(Exclusion{Networks: networks("10.0.0.8"), Expires: clock.Add(time.Hour)})
	hidden("the past", "10.0.0.8")
	b := put(Exclusion{Networks: networks("10.0.0.0/24"), Names: []string{"*.corp.example"}, JA4: []string{"t10d0000"}, Ports: []uint16{8080}})
	hidden("by the flows", "10.0.0.8", "10.0.0.9")
	put(Exclusion{Networks: networks("10.0.0.7")})
	clock = clock.Add(20 * time.Second)
	raise("10.0.0.7")
	localtest.Expect(t, conn, "SELECT countIf(suppressed_by != '') FROM alerts FINAL WHERE actor = '10.0.0.7' AND revision = 1", 1)
	b.Names = []string{"*.corp.example.org"}
	put(b)
	hidden("changed", "10.0.0.7", "10.0.0.8")
	clock = clock.Add(2 * time.Hour)
	hidden("expired", "10.0.0.7")
	a.Expires = time.Time{}
	put(a)
	hidden("for ever", "10.0.0.7", "10.0.0.8")
	if _, err := exclusions.Remove(ctx, "carl", a.ID, "gone"); err != nil {
		t.Fatal(err)
	}
	hidden("removed", "10.0.0.7")
	if _, err := exclusions.Remove(ctx, "carl", a.ID, "gone"); err == nil {
		t.Error("removed twice")
	}
	var log []string
	history, err := exclusions.History(ctx, a.ID)
	for _, e := range history {
		log = append(log, e.Who+" "+e.Action+" "+e.Comment)
	}
	if want := []string{"bob created known", "bob changed known", "carl removed gone"}; err != nil || !slices.Equal(log, want) {
		t.Errorf("history %v, want %v, %v", log, want, err)
	}
}

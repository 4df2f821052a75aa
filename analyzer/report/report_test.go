package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/incident"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// traffic is a day of two links, and some of the day after it. What the wire has
// named is hostile.
const traffic = `start 2026-11-01T00:00:00Z
n=280 every=5m src=10.0.{i%3}.{i%20+1} dst=192.0.2.{i%5+1} port=443 out={i*100+500} in={i*1000+2000} app=tls src_dscp=46 dst_dscp=0 src_asn=0 dst_asn=64500 probe=edge1 community_hash={i+1000}
at=+8h n=40 every=3m src=198.51.100.7 dst=10.0.0.2 port=80 out=300 in=90000 app==cmd|'/c%20calc'!A1 src_dscp=10 dst_dscp=10 src_asn=64501 dst_asn=0 probe=edge1 community_hash={i+2000}
at=+9h n=20 every=1m src=10.0.1.1 dst=10.0.2.1 port=445 out=9000 in=800 app=<script>window.pwned=1</script> src_dscp=1 dst_dscp=3 probe=core community_hash={i+3000}
at=+30m n=9 every=2h src=2001:db8:1::1 dst=2001:db8:2::{i+1} port=443 out=5000 in=100000 app=quic probe=core community_hash={i+4000}
at=+30h n=9 every=2h src=10.0.1.1 dst=192.0.2.1 port=443 out=5000 in=10000 app=tls probe=core community_hash={i+5000}
at=-24h n=20 every=1h src=10.0.1.1 dst=192.0.2.1 port=443 out=5000 in=10000 app=tls probe=core community_hash={i+6000}
`

var home = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}

func fixture(t *testing.T) driver.Conn {
	t.Helper()
	conn := localtest.Tables(t)
	start, rows, err := detecttest.ParseFlows(traffic)
	if err != nil {
		t.Fatal(err)
	}
	detecttest.Load(t, conn, start, rows, 1)
	detecttest.Rollup(t, conn)
	localtest.Exec(t, conn, "INSERT INTO asns (asn, name) VALUES (64500, 'Example'), (64501, '=HYPERLINK(1)')")
	at := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	found := []alert.Alert{
		{Detector: "portscan_vertical", Version: 1, Title: "=1+1 <script>window.pwned=1</script>\x1b[31m", Severity: alert.High, Score: .9, Confidence: .8, Magnitude: 40, Techniques: []string{"T1046"}, Actor: "10.0.1.1", Victim: "10.0.2.1",
			Entities: []string{"actor=10.0.1.1", "victim=10.0.2.1"}, Start: at, End: at.Add(time.Minute), WindowStart: at, WindowEnd: at.Add(10 * time.Minute), SubScores: map[string]float64{"ports": 1, "odd": math.NaN()},
			Reasons: []string{"40 ports"}, Unless: []string{"fewer than 10 ports"}, EvidenceSQL: "SELECT 1\nFROM flows", EvidenceParams: map[string]string{"src": "10.0.1.1"}, Baseline: `{"a":1}`,
			FlowIDs: []string{sampleFlow(t, conn)}, Completeness: math.NaN()},
		{Detector: "own", Version: 1, Title: "low", Severity: alert.Low, Actor: "10.0.1.9", Entities: []string{"actor=10.0.1.9"}, Start: at, End: at.Add(time.Minute), WindowStart: at, WindowEnd: at.Add(10 * time.Minute)},
		{Detector: "own", Version: 1, Title: "another day", Severity: alert.Low, Actor: "10.0.1.9", Entities: []string{"actor=10.0.1.9"}, Start: at.Add(72 * time.Hour), End: at.Add(73 * time.Hour), WindowStart: at.Add(72 * time.Hour), WindowEnd: at.Add(74 * time.Hour)},
	}
	if _, err := alert.NewStore(conn).Raise(t.Context(), found); err != nil {
		t.Fatal(err)
	}
	return conn
}

func sampleFlow(t *testing.T, conn driver.Conn) (id string) {
	t.Helper()
	err := conn.QueryRow(t.Context(), "SELECT concat(probe, '/', toString(epoch), '/', toString(worker), '/', toString(flow_id)) FROM flows WHERE dst_port = 445 ORDER BY start LIMIT 1").Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func maker(t *testing.T, conn driver.Conn, change func(*Config)) *Maker {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Links = []string{"edge1=10M"}
	if change != nil {
		change(&cfg)
	}
	m, err := NewMaker(cfg, conn, home, map[string]string{"portscan_vertical": "recon"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// truth adds up raw flows of the day, flow by flow.
type truth struct {
	links    map[string]map[int64][3]float64 // octets by slot: all, out, in
	apps     map[string]uint64
	classes  map[string]map[int64]float64
	prefixes map[string]map[int64]float64
	systems  map[string]map[int64]float64
}

func truthOf(t *testing.T, conn driver.Conn, p Period, slot int64) truth {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT probe, start, src_ip, dst_ip, src_bytes, dst_bytes, app, src_dscp, dst_dscp, src_asn, dst_asn FROM flows")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	tr := truth{map[string]map[int64][3]float64{}, map[string]uint64{}, map[string]map[int64]float64{}, map[string]map[int64]float64{}, map[string]map[int64]float64{}}
	add := func(to map[string]map[int64]float64, key string, at int64, n uint64) {
		if n == 0 {
			return
		}
		if to[key] == nil {
			to[key] = map[int64]float64{}
		}
		to[key][at] += float64(n)
	}
	for rows.Next() {
		var probe, app string
		var start time.Time
		var src, dst netip.Addr
		var sent, back uint64
		var sd, dd uint8
		var sa, da uint32
		if err := rows.Scan(&probe, &start, &src, &dst, &sent, &back, &app, &sd, &dd, &sa, &da); err != nil {
			t.Fatal(err)
		}
		if start.Before(p.Start) || !start.Before(p.End) {
			continue
		}
		src, dst = src.Unmap(), dst.Unmap()
		at := start.Unix() / slot
		l := tr.links[probe]
		if l == nil {
			l = map[int64][3]float64{}
			tr.links[probe] = l
		}
		v := l[at]
		v[0] += float64(sent + back)
		if si, di := home[0].Contains(src), home[0].Contains(dst); si && !di {
			v[1], v[2] = v[1]+float64(sent), v[2]+float64(back)
		} else if di && !si {
			v[1], v[2] = v[1]+float64(back), v[2]+float64(sent)
		}
		l[at] = v
		tr.apps[app] += sent + back
		for _, x := range []struct {
			a, b   netip.Addr
			dscp   uint8
			sa, da uint32
			n      uint64
		}{{src, dst, sd, sa, da, sent}, {dst, src, dd, da, sa, back}} {
			add(tr.classes, fmt.Sprintf("%s %d", probe, x.dscp), at, x.n)
			prefix := func(a netip.Addr) string {
				bits := 24
				if a.Is6() {
					bits = 48
				}
				p, _ := a.Prefix(bits)
				return p.String()
			}
			add(tr.prefixes, probe+" "+prefix(x.a)+" "+prefix(x.b), at, x.n)
			if x.sa > 0 || x.da > 0 {
				add(tr.systems, fmt.Sprintf("%s %d %d", probe, x.sa, x.da), at, x.n)
			}
		}
	}
	return tr
}

// figures are total octets, 95th percentile and peak of slots.
func figures(slots map[int64]float64, n int, seconds float64) (uint64, float64, float64) {
	values := slices.Collect(maps.Values(slots))
	total := 0.0
	for _, v := range values {
		total += v
	}
	for len(values) < n {
		values = append(values, 0)
	}
	slices.Sort(values)
	slices.Reverse(values)
	return uint64(total), values[n/20] * 8 / seconds, values[0] * 8 / seconds
}

// Every figure of traffic is that of the raw flows.
func TestFigures(t *testing.T) {
	conn := fixture(t)
	m := maker(t, conn, nil)
	p, err := PeriodOf(Daily, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Make(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Notes) != 0 || r.SlotSeconds != 300 {
		t.Errorf("slots of %d s, notes %q", r.SlotSeconds, r.Notes)
	}
	tr := truthOf(t, conn, p, 300)
	if len(r.Links) != 2 || len(r.Links) != len(tr.links) {
		t.Fatalf("links: %+v", r.Links)
	}
	for _, l := range r.Links {
		for i, got := range []float64{l.P95, l.P95Out, l.P95In} {
			slots := map[int64]float64{}
			for at, v := range tr.links[l.Name] {
				slots[at] = v[i]
			}
			total, percentile, peak := figures(slots, 288, 300)
			if got != percentile || i == 0 && (l.Octets != total || l.Peak != peak) || i == 1 && l.Out != total || i == 2 && l.Into != total {
				t.Errorf("link %s, %d: %d octets, 95th percentile %v, want %d, %v; peak %v, want %v", l.Name, i, l.Octets, got, total, percentile, l.Peak, peak)
			}
		}
	}
	if r.Links[0].P95 == 0 || r.Links[0].P95 == r.Links[0].Peak {
		t.Errorf("the test shows nothing: %+v", r.Links[0])
	}
	var sum uint64
	for _, a := range r.Apps {
		if a.Octets != tr.apps[a.Name] {
			t.Errorf("application %s: %d octets, want %d", a.Name, a.Octets, tr.apps[a.Name])
		}
		sum += a.Octets
	}
	if len(r.Apps) != len(tr.apps) || sum != r.Links[0].Octets+r.Links[1].Octets {
		t.Errorf("applications: %+v", r.Apps)
	}
	if len(r.Classes) != len(tr.classes) {
		t.Errorf("%d classes, want %d", len(r.Classes), len(tr.classes))
	}
	for _, c := range r.Classes {
		total, percentile, peak := figures(tr.classes[fmt.Sprintf("%s %d", c.Link, c.DSCP)], 288, 300)
		if c.Octets != total || c.P95 != percentile || c.Peak != peak {
			t.Errorf("class %+v, want %d, %v, %v", c, total, percentile, peak)
		}
	}
	if len(r.Prefixes) != len(tr.prefixes) || len(r.Systems) != len(tr.systems) || len(r.Systems) == 0 {
		t.Errorf("%d prefixes, want %d; %d systems, want %d", len(r.Prefixes), len(tr.prefixes), len(r.Systems), len(tr.systems))
	}
	for _, x := range r.Prefixes {
		total, percentile, peak := figures(tr.prefixes[x.Link+" "+x.From+" "+x.To], 288, 300)
		if x.Octets != total || x.P95 != percentile || x.Peak != peak {
			t.Errorf("prefixes %+v, want %d, %v, %v", x, total, percentile, peak)
		}
	}
	names := map[string]string{"unknown or own": "0", "AS64500 Example": "64500", "AS64501 =HYPERLINK(1)": "64501"}
	for _, x := range r.Systems {
		total, percentile, peak := figures(tr.systems[x.Link+" "+names[x.From]+" "+names[x.To]], 288, 300)
		if x.Octets != total || x.P95 != percentile || x.Peak != peak {
			t.Errorf("systems %+v, want %d, %v, %v", x, total, percentile, peak)
		}
	}
	if len(r.Events) != 2 || r.Events[1].Family != "recon" || r.Events[0].Alerts != 1 || len(r.Worst) != 2 || r.Worst[0].Severity != "high" {
		t.Errorf("events %+v, worst %+v", r.Events, r.Worst)
	}
	if len(r.Ledger) != 2 || r.Ledger[1].Seen == 0 || r.Ledger[1].Share != 1 {
		t.Errorf("ledger %+v", r.Ledger)
	}
	if len(r.Capacity) != 2 || r.Capacity[0].Name != "edge1" || r.Capacity[0].Capacity != 1e7 || r.Capacity[0].Busiest == 0 {
		t.Errorf("capacity %+v", r.Capacity)
	}

	again, err := m.Make(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var x, y bytes.Buffer
	if err := errors.Join(r.HTML(&x), again.HTML(&y)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x.Bytes(), y.Bytes()) {
		t.Error("made again it is another report")
	}
	for _, bad := range []string{"<script", "=1+1 <s", "\x1b", "http://", "https://", "ZgotmplZ"} {
		if strings.Contains(x.String(), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	tables, err := r.CSV()
	if err != nil {
		t.Fatal(err)
	}
	cells := 0
	for _, table := range tables {
		records, err := csv.NewReader(bytes.NewReader(table.Data)).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", table.Name, err)
		}
		for _, record := range records {
			for _, c := range record {
				if cells++; c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
					t.Errorf("%s: cell %q", table.Name, c)
				}
			}
		}
	}
	if cells < 100 {
		t.Errorf("%d cells", cells)
	}

	hours := maker(t, conn, nil)
	localtest.Exec(t, conn, "TRUNCATE TABLE flows_1m_builds")
	r, err = hours.Make(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Notes) != 1 || r.SlotSeconds != 3600 {
		t.Errorf("without minutes: slots of %d s, notes %q", r.SlotSeconds, r.Notes)
	}
	tr = truthOf(t, conn, p, 3600)
	for _, x := range r.Prefixes {
		total, percentile, _ := figures(tr.prefixes[x.Link+" "+x.From+" "+x.To], 24, 3600)
		if x.Octets != total || x.P95 != percentile {
			t.Errorf("prefixes %+v, want %d, %v", x, total, percentile)
		}
	}

	id := r.Worst[0].ID
	if _, err := incident.NewStore(conn).Add(t.Context(), id, "anna", incident.Comment, "looks <b>bad</b>", ""); err != nil {
		t.Fatal(err)
	}
	i, err := m.Incident(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(i.Flows) != 1 || i.Flows[0].DstPort != 445 || i.SQL == "" || len(i.Timeline) < 5 || !slices.ContainsFunc(i.Timeline, func(m Moment) bool { return m.Who == "anna" }) {
		t.Errorf("incident %+v", i)
	}
	x.Reset()
	y.Reset()
	if err := errors.Join(i.HTML(&x), i.JSON(&y)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(x.String(), "<b>") || strings.Contains(x.String(), "<script") || !strings.Contains(x.String(), "SELECT 1\nFROM flows") || !json.Valid(y.Bytes()) {
		t.Errorf("page of the incident:\n%s", x.String())
	}
	if _, err := m.Incident(t.Context(), "none"); !errors.Is(err, incident.ErrUnknown) {
		t.Errorf("no incident: %v", err)
	}
}

// Periods that ended while nobody looked are made up for, each once.
func TestCatchUp(t *testing.T) {
	conn := fixture(t)
	dir := t.TempDir()
	m := maker(t, conn, func(c *Config) { c.Kinds, c.Dir, c.TimeZone = []string{Daily, Weekly}, dir, "Europe/Vienna" })
	k, err := NewKeeper(m, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	there := func() (names []string) {
		list, err := filepath.Glob(filepath.Join(dir, "*.html"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			names = append(names, strings.TrimSuffix(filepath.Base(p), ".html"))
		}
		return names
	}
	at := func(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 0, 0, 0, m.Location()) }
	for _, step := range []struct {
		now  time.Time
		want []string
	}{
		{at(2, 1), []string{"daily-2026-10-31", "weekly-2026-10-19"}}, // the delay is not over
		{at(2, 4), []string{"daily-2026-10-31", "daily-2026-11-01", "weekly-2026-10-19", "weekly-2026-10-26"}},
		{at(2, 23), []string{"daily-2026-10-31", "daily-2026-11-01", "weekly-2026-10-19", "weekly-2026-10-26"}},
		{at(5, 4), []string{"daily-2026-10-31", "daily-2026-11-01", "daily-2026-11-02", "daily-2026-11-03", "daily-2026-11-04", "weekly-2026-10-19", "weekly-2026-10-26"}},
	} {
		if err := k.Pass(t.Context(), step.now); err != nil {
			t.Fatal(err)
		}
		if got := there(); !slices.Equal(got, step.want) {
			t.Fatalf("at %v (-got +want)\n-%q\n+%q", step.now, got, step.want)
		}
	}
	// Written is written: what is taken away does not come back.
	if err := os.Remove(filepath.Join(dir, "daily-2026-11-01.html")); err != nil {
		t.Fatal(err)
	}
	if err := k.Pass(t.Context(), at(5, 5)); err != nil || len(there()) != 6 {
		t.Errorf("%q, %v", there(), err)
	}
	// A directory that fails is tried again, and nothing is skipped.
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := k.Pass(t.Context(), at(6, 4)); err == nil {
		t.Error("no directory, and no error")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := k.Pass(t.Context(), at(7, 4)); err != nil || len(there()) != 8 {
		t.Errorf("%q, %v", there(), err)
	}
	if rest, _ := filepath.Glob(filepath.Join(dir, ".report-*")); len(rest) != 0 {
		t.Errorf("left behind: %q", rest)
	}
}

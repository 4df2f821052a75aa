package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/deploy/lab/scene"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// lab is the chain behind the tap: a probe, a collector and two analyzers, each a
// process of its own.
type lab struct {
	t         *testing.T
	db        driver.Conn
	broker    string
	settings  settings
	probe     *child
	collector *child
	analyzers [2]*child
}

const database = "lab"

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("TAPWATCH_E2E") != "full" {
		t.Skip("the lab of network namespaces is run by make e2e-lab, as root")
	}
	newNetwork(t)
	l := &lab{t: t, db: localtest.Database(t, database), broker: localtest.TestKafka(t).Addr()}
	for _, topic := range []string{database, database + ".dead"} {
		if err := (kafka.Config{Brokers: []string{l.broker}}).EnsureTopic(t.Context(), topic, 1, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	l.settings = settings{Broker: l.broker, ClickHouse: localtest.TestClickHouse(t).Addr(), Database: database, Dir: t.TempDir()}
	l.collector = spawn(t, "", "collector", l.settings)
	l.until("the tables are there", time.Minute, func() bool {
		return l.number("SELECT count() FROM system.tables WHERE database = 'lab' AND name = 'alerts'") == 1
	})
	l.probe = spawn(t, "", "probe", l.settings)
	for i := range l.analyzers {
		l.analyzers[i] = spawn(t, "", "analyzer", l.settings)
	}
	spawn(t, "srv", "serve", settings{})
	spawn(t, "dns", "resolve", settings{})
	l.until("the probe says something", time.Minute, func() bool { return l.number("SELECT count() FROM batches") > 0 })
	return l
}

// number asks for one; 0 while there is nothing to ask.
func (l *lab) number(sql string) uint64 {
	var n uint64
	if err := l.db.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		return 0
	}
	return n
}

func (l *lab) until(what string, patience time.Duration, ready func() bool) bool {
	l.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if ready() {
			return true
		}
	}
	l.t.Errorf("%s: not within %s", what, patience)
	for name, c := range map[string]*child{"probe": l.probe, "collector": l.collector, "analyzer": l.analyzers[0]} {
		if c != nil {
			select {
			case <-c.done:
				l.t.Errorf("%s has ended: %v: %s", name, c.err, c.out.String())
			default:
			}
		}
	}
	return false
}

// attack is one that is really made, and the detectors of which one must raise it.
type attack struct {
	name      string
	with      string // the program
	detectors []string
	names     string // who it must be about
	make      func() *child
}

func (l *lab) attacks(flood string) []attack {
	t := l.t
	return []attack{
		{"port scan", "nmap -sS", []string{"portscan_vertical"}, attacker, func() *child {
			return launch(t, "atk", nil, "nmap", "-sS", "-n", "-Pn", "-T4", "--max-rate", "500", "-p", "100-1100", webServer)
		}},
		{"host discovery", "nmap -sn", []string{"host_discovery"}, attacker, func() *child {
			return launch(t, "atk", nil, "nmap", "-sn", "-n", "-PE", "--send-ip", "--max-rate", "100", "10.77.0.100-200")
		}},
		{"SYN flood", "own sender", []string{"syn_flood", "packet_flood"}, webServer, func() *child {
			return spawn(t, "atk", "send", settings{File: flood, Rate: 2000, Seconds: 15})
		}},
		{"SSH guessing", "own client (x/crypto/ssh)", []string{"brute_force"}, attacker, func() *child { return spawn(t, "atk", "guess", settings{N: 30}) }},
		{"DNS tunnel", "own client", []string{"dns_tunnel"}, user, func() *child { return spawn(t, "usr", "tunnel", settings{N: 400}) }},
		{"beacon", "own client (net/http)", []string{"beacon"}, user, func() *child { return spawn(t, "usr", "call", settings{Seed: 1, N: 45}) }},
		{"upload", "own client", []string{"exfiltration"}, user, func() *child { return spawn(t, "usr", "upload", settings{N: 600_000_000}) }},
		{"injection", "curl", []string{"injection", "web_attack"}, attacker, func() *child {
			script := ""
			for _, q := range []string{"id=1%27%20OR%20%271%27%3D%271%27--%20", "id=1%20UNION%20SELECT%20user,password%20FROM%20users--", "f=..%2f..%2f..%2fetc%2fpasswd", "s=%3Cscript%3Ealert(document.cookie)%3C/script%3E", "c=;cat%20/etc/passwd"} {
				script += "curl -s -o /dev/null 'http://" + webServer + "/item?" + q + "'; "
			}
			return launch(t, "atk", nil, "sh", "-c", script)
		}},
	}
}

// TestLab makes real attacks, follows each to its incident, kills the analyzer that
// works in the middle of it, and measures.
func TestLab(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	flood := filepath.Join(dir, "flood.pcap")
	write(t, flood, func(w *scene.World) { // spoofed sources, one port of the web server
		w.SYNFlood(time.Now(), addr(webServer), 443, 2000, 10*time.Second, 5000)
	})
	load := filepath.Join(dir, "load.pcap")
	write(t, load, func(w *scene.World) {
		o := scene.DefaultOffice()
		o.Visits, o.Backup, o.Crowd, o.Scanner = 60, 0, false, false
		w.Work(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), o)
	})

	rate := l.lossFree(load)
	t.Logf("lab: loss-free up to %d packets a second of a mix of all protocols (what the sender can do is the bound above)", rate)
	for _, share := range []int{50, 100} {
		l.underLoad(load, rate*share/100, share)
	}

	before := l.usage()
	began := time.Now()
	delays := l.attackAll(flood)
	l.report(before, time.Since(began), delays)
	l.oneIncidentEach()
}

// write makes a capture of a scene.
func write(t *testing.T, path string, make func(w *scene.World)) {
	t.Helper()
	w := scene.New(1, 20)
	make(w)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := w.Capture(f); err != nil {
		t.Fatal(err)
	}
}

// attackAll starts the attacks one after the other, kills the working analyzer
// after the third, and returns how long each took from its first packet to its
// incident.
func (l *lab) attackAll(flood string) map[string]time.Duration {
	l.t.Helper()
	starts, delays := map[string]time.Time{}, map[string]time.Duration{}
	list := l.attacks(flood)
	look := func() {
		for _, a := range list {
			if _, done := delays[a.name]; done || starts[a.name].IsZero() {
				continue
			}
			n := l.number(fmt.Sprintf("SELECT count() FROM alerts FINAL WHERE detector IN ('%s') AND arrayExists(x -> endsWith(x, '=%s'), entities) AND end >= toDateTime64(%d, 9)",
				strings.Join(a.detectors, "', '"), a.names, starts[a.name].Unix()))
			if n > 0 {
				delays[a.name] = time.Since(starts[a.name])
			}
		}
	}
	for n, a := range list {
		starts[a.name] = time.Now()
		c := a.make()
		for ended := false; !ended; {
			select {
			case <-c.done:
				ended = true
			case <-time.After(200 * time.Millisecond):
			}
			look()
		}
		c.wait(l.t)
		if n == 2 {
			l.killWorking()
		}
	}
	for deadline := time.Now().Add(12 * time.Minute); len(delays) < len(list) && time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		look()
	}
	for _, a := range list {
		if _, ok := delays[a.name]; !ok {
			l.t.Errorf("%s (%s) raised no incident of %v", a.name, a.with, a.detectors)
		}
	}
	return delays
}

// killWorking kills, without warning, the analyzer that has the lease; the other
// has to go on.
func (l *lab) killWorking() {
	// The lease names a holder that only the analyzers know; whoever burns more
	// processor time is the one that works.
	busy := 0
	if cpu(l.analyzers[1].cmd.Process.Pid) > cpu(l.analyzers[0].cmd.Process.Pid) {
		busy = 1
	}
	l.t.Logf("lab: analyzer %d is killed", busy)
	l.analyzers[busy].kill()
	l.analyzers[0] = l.analyzers[1-busy]
}

// oneIncidentEach: nothing is said twice, and no window is skipped.
func (l *lab) oneIncidentEach() {
	l.t.Helper()
	if n := l.number("SELECT count() FROM (SELECT detector, entities FROM alerts FINAL GROUP BY detector, entities HAVING count() > 1)"); n > 0 {
		l.t.Errorf("%d things have two incidents", n)
	}
	if n := l.number("SELECT count() FROM (SELECT alert, sink, revision FROM deliveries FINAL WHERE status = 'delivered' GROUP BY alert, sink, revision HAVING count() > 1)"); n > 0 {
		l.t.Errorf("%d alerts were delivered twice", n)
	}
	// Every closed window of the detector with the shortest steps has its run.
	missing := l.number(`WITH (SELECT min(window_start) FROM job_runs WHERE detector = 'portscan_vertical' AND closed) AS first, (SELECT max(window_start) FROM job_runs WHERE detector = 'portscan_vertical' AND closed) AS last
		SELECT toUInt64((toUnixTimestamp(last) - toUnixTimestamp(first)) / 300 + 1) - uniqExact(window_start) FROM job_runs FINAL WHERE detector = 'portscan_vertical' AND closed`)
	if missing > 0 && missing < 1<<40 {
		l.t.Errorf("%d windows were skipped", missing)
	}
}

// report prints what was measured.
func (l *lab) report(before usage, took time.Duration, delays map[string]time.Duration) {
	after := l.usage()
	var list []time.Duration
	for _, name := range sortedKeys(delays) {
		l.t.Logf("lab: %s: incident %s after its first packet", name, delays[name].Round(100*time.Millisecond))
		list = append(list, delays[name])
	}
	slices.Sort(list)
	if len(list) > 0 {
		l.t.Logf("lab: packet to incident: p50 %s, p95 %s", list[len(list)/2].Round(time.Second), list[len(list)*95/100].Round(time.Second))
	}
	seen, inFlows := l.number("SELECT sum(seen_packets) FROM ledger"), l.number("SELECT sum(src_packets + dst_packets) FROM flows")
	dropped := l.number("SELECT sum(packets) FROM ledger_losses")
	l.t.Logf("lab: packets seen %d, in flows so far %d, lost by name %d", seen, inFlows, dropped)
	l.t.Logf("lab: in %s: probe %.1f s of CPU and %d MiB, collector %.1f s and %d MiB, analyzer %.1f s and %d MiB", took.Round(time.Second),
		after.probe.cpu-before.probe.cpu, after.probe.rss>>20, after.collector.cpu-before.collector.cpu, after.collector.rss>>20, after.analyzer.cpu-before.analyzer.cpu, after.analyzer.rss>>20)
	rows, disk := l.number("SELECT count() FROM flows"), l.number("SELECT sum(bytes_on_disk) FROM system.parts WHERE database = 'lab' AND active")
	flowsDisk := l.number("SELECT sum(bytes_on_disk) FROM system.parts WHERE database = 'lab' AND table = 'flows' AND active")
	l.t.Logf("lab: %d rows, %d octets on disk for flows, %d for everything; %d octets from probe to Kafka", rows, flowsDisk, disk, after.topic)
}

func sortedKeys(m map[string]time.Duration) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// A rate is borne if, after it has lasted for loadSeconds, its last packet is
// stored within keepsUp.
const (
	loadSeconds = 20
	keepsUp     = 5 * time.Second
)

// lossFree is the highest of a row of rates at which the ledger knows of no loss
// and the store keeps up; it stops at what the sender can do.
func (l *lab) lossFree(file string) int {
	l.t.Helper()
	best := 0
	for _, rate := range []int{10_000, 20_000, 40_000, 80_000, 160_000} {
		lost, seen := l.lost(), l.number("SELECT sum(seen_packets) FROM ledger")
		c := spawn(l.t, "atk", "send", settings{File: file, Rate: rate, Seconds: loadSeconds})
		sent, err := strconv.Atoi(strings.TrimSpace(c.wait(l.t)))
		if err != nil {
			l.t.Fatal(err)
		}
		sentAt := time.Now()
		if !l.until("the ledger has what was sent", 2*time.Minute, func() bool { return l.number("SELECT sum(seen_packets) FROM ledger") >= seen+uint64(sent) }) {
			break
		}
		behind := time.Since(sentAt)
		dropped := l.lost() - lost
		l.t.Logf("lab: %d packets a second asked for: %d a second sent, %d lost (%.4f %%), stored %s after the last", rate, sent/loadSeconds, dropped, 100*float64(dropped)/float64(max(1, sent)), behind.Round(100*time.Millisecond))
		// A rate is borne when nothing is lost and what is behind the probe keeps up.
		if dropped > 0 || behind > keepsUp {
			break
		}
		best = sent / loadSeconds
		if sent < rate*loadSeconds*9/10 {
			break // the sender cannot do more
		}
	}
	if best == 0 {
		l.t.Error("packets are lost at the lowest rate")
	}
	return best
}

func (l *lab) lost() uint64 {
	return l.number("SELECT sum(packets) FROM ledger_losses WHERE reason NOT IN ('filtered')") + l.number("SELECT sum(packets) FROM ledger_dropped")
}

// underLoad measures the way from the last packet of a connection to its row, while
// a load passes the tap.
func (l *lab) underLoad(file string, rate, share int) {
	l.t.Helper()
	lost, began := l.lost(), time.Now()
	load := spawn(l.t, "atk", "send", settings{File: file, Rate: rate, Seconds: loadSeconds})
	marks := spawn(l.t, "usr", "mark", settings{Seconds: 15})
	type row struct{ port, at string }
	seen := map[string]time.Time{}
	poll := func() {
		rows, err := l.db.Query(context.Background(), "SELECT DISTINCT toString(src_port) FROM flows WHERE start >= ? AND dst_ip = toIPv6('::ffff:10.77.0.81') AND dst_port = 9000 AND end_reason = 'end'", began)
		if err != nil {
			return
		}
		defer rows.Close()
		now := time.Now()
		for rows.Next() {
			var port string
			if rows.Scan(&port) == nil && seen[port].IsZero() {
				seen[port] = now
			}
		}
	}
	var list []row
	read := func() {
		for line := range strings.Lines(marks.out.String()) {
			if port, at, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				list = append(list, row{port, at})
			}
		}
	}
	for ended := false; !ended; {
		select {
		case <-marks.done:
			ended = true
		case <-time.After(50 * time.Millisecond):
			poll()
		}
	}
	read()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline) && len(seen) < len(list); time.Sleep(50 * time.Millisecond) {
		poll()
	}
	load.wait(l.t)
	var delays []time.Duration
	for _, r := range list {
		ns, err := strconv.ParseInt(r.at, 10, 64)
		if at, ok := seen[r.port]; ok && err == nil {
			delays = append(delays, at.Sub(time.Unix(0, ns)))
		}
	}
	slices.Sort(delays)
	if len(delays) < len(list)*9/10 || len(delays) == 0 {
		l.t.Errorf("%d of %d connections have their row", len(delays), len(list))
		return
	}
	l.t.Logf("lab: at %d %% of the loss-free rate (%d packets a second): packet to row p50 %s, p95 %s, of %d connections; %d packets lost", share, rate,
		delays[len(delays)/2].Round(time.Millisecond), delays[len(delays)*95/100].Round(time.Millisecond), len(delays), l.lost()-lost)
}

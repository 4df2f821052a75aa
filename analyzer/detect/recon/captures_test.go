package recon_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/detect/recon"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// Logs of Zeek beside the project: who has to be named, and by how many alerts at most.
func TestZeekLogs(t *testing.T) {
	for _, c := range []struct {
		name, file string
		inside     []netip.Prefix
		most       int // alerts
		long       bool
		check      func(t *testing.T, contacts []contact, alerts []alert.Alert)
	}{
		{"nmap of three networks", "strato-002-zeek-scenario-port-scanning/conn.log", detecttest.Own().Inside, 5, true, func(t *testing.T, _ []contact, alerts []alert.Alert) {
			found := map[string]bool{}
			for _, a := range alerts {
				found[a.Detector] = found[a.Detector] || a.Actor == "172.16.1.11"
			}
			if !found["portscan_vertical"] || !found["host_discovery"] {
				t.Errorf("of 172.16.1.11: %v", found)
			}
		}},
		{"a sweep of port 80", "slips/portscan-horizontal/conn.log", detecttest.Own().Inside, 1, false, func(t *testing.T, _ []contact, alerts []alert.Alert) {
			if len(alerts) != 1 || alerts[0].Detector != "portscan_horizontal" || alerts[0].Actor != "10.0.2.112" {
				t.Errorf("%+v", alerts)
			}
		}},
		{"a day of a server", "rita-server-day1/conn.log.gz", []netip.Prefix{netip.MustParsePrefix("64.225.56.201/32")}, 3, true, checkServer},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && os.Getenv("TAPWATCH_E2E") != "full" {
				t.Skip("minutes of work: TAPWATCH_E2E=full runs it")
			}
			contacts := readZeek(t, c.file)
			start, rows, err := detecttest.ParseFlows(table(contacts))
			if err != nil {
				t.Fatal(err)
			}
			conn := localtest.Tables(t)
			detecttest.Load(t, conn, start, rows, 1)
			detecttest.Catchup(t, conn, recon.All(detect.Own{Inside: c.inside}, recon.DefaultConfig()))
			alerts := detecttest.Stored(t, conn)
			for _, a := range alerts {
				t.Logf("%s %s: %s; %s", a.Detector, a.Severity, a.Title, strings.Join(a.Reasons, "; "))
			}
			if len(alerts) > c.most {
				t.Errorf("%d alerts, at most %d are wanted", len(alerts), c.most)
			}
			c.check(t, contacts, alerts)
			if c.name != "a day of a server" {
				return
			}
			for _, a := range alerts {
				if a.Detector != "scan_digest" {
					continue
				}
				rows, err := detect.All[struct {
					Slow []string `ch:"slow_scanners"`
				}](t.Context(), conn, "SELECT slow_scanners FROM ("+a.EvidenceSQL+")", a.EvidenceParams)
				if err != nil || len(rows) != 1 {
					t.Fatalf("evidence: %v, %d rows", err, len(rows))
				}
				listed := map[string]bool{}
				for _, s := range rows[0].Slow {
					listed[s] = true
				}
				for src := range slowScanners(contacts, "64.225.56.201") {
					if !listed[src] {
						t.Errorf("%s tried 15 hosts and ports without an answer and is not in the digest", src)
					}
				}
			}
		})
	}
}

// checkServer: what scans from outside is one digest, and the rest is little.
func checkServer(t *testing.T, contacts []contact, alerts []alert.Alert) {
	digests, external := 0, 0
	for _, a := range alerts {
		switch {
		case a.Detector == "scan_digest":
			digests++
			if n := len(slowScanners(contacts, "64.225.56.201")); n < 50 || a.Magnitude < float64(n) {
				t.Errorf("the digest has %v sources, and %d are slow scanners", a.Magnitude, n)
			}
		case a.Severity.Rank() > alert.Low.Rank():
			t.Errorf("%s %s: %s", a.Detector, a.Severity, a.Title)
		}
		if a.Actor != "64.225.56.201" {
			external++
		}
	}
	if digests != 1 || external > 2 {
		t.Errorf("%d digests, %d incidents of scans from outside; want 1, and 2 at most", digests, external)
	}
}

// slowScanners are the sources outside that tried 15 ports of the host without
// an answer, of which at most a fifth did answer, by brute force.
func slowScanners(contacts []contact, host string) map[string]bool {
	failed, open := map[string]map[string]bool{}, map[string]map[string]bool{}
	for _, c := range contacts {
		if c.dst != host || c.proto == "icmp" || c.guessed || c.proto == "udp" && c.sport < 1024 && c.port >= 1024 {
			continue
		}
		into := open
		switch {
		case c.in > 0:
		case c.proto == "tcp" && (c.state == "S0" || c.state == "REJ" || c.state == "RSTOS0"), c.proto == "udp" && c.answers == 0:
			into = failed
		default:
			continue
		}
		if into[c.src] == nil {
			into[c.src] = map[string]bool{}
		}
		into[c.src][c.proto+strconv.Itoa(c.port)] = true
	}
	list := map[string]bool{}
	for src, ports := range failed {
		if len(ports) >= 15 && 5*len(open[src]) <= len(ports) {
			list[src] = true
		}
	}
	return list
}

// contact is a line of a conn.log.
type contact struct {
	at           float64 // Unix time
	took         float64
	src, dst     string
	sport, port  int
	proto, state string
	out, in      int
	answers      int // packets of the responder
	guessed      bool
}

func readZeek(t *testing.T, name string) []contact {
	t.Helper()
	file, err := os.Open(filepath.Join("../../../../shared/captures/flows", name))
	if os.IsNotExist(err) {
		t.Skip("the shared captures are not beside the project (../shared/captures)")
	} else if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	var list []contact
	var fields []string
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		line, cell := scan.Text(), map[string]string{}
		switch {
		case strings.HasPrefix(line, "{"):
			var v map[string]any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatal(err)
			}
			for k, x := range v {
				if f, ok := x.(float64); ok {
					cell[k] = strconv.FormatFloat(f, 'f', -1, 64)
				} else {
					cell[k] = fmt.Sprint(x)
				}
			}
		case strings.HasPrefix(line, "#fields"):
			fields = strings.Split(line, "\t")[1:]
			continue
		case strings.HasPrefix(line, "#"), line == "":
			continue
		default:
			for i, v := range strings.Split(line, "\t") {
				if v != "-" && i < len(fields) {
					cell[fields[i]] = v
				}
			}
		}
		number := func(name string) int { n, _ := strconv.Atoi(cell[name]); return n }
		c := contact{src: cell["id.orig_h"], dst: cell["id.resp_h"], sport: number("id.orig_p"), port: number("id.resp_p"), proto: cell["proto"], state: cell["conn_state"],
			out: number("orig_bytes"), in: number("resp_bytes"), answers: number("resp_pkts")}
		c.at, _ = strconv.ParseFloat(cell["ts"], 64)
		c.took, _ = strconv.ParseFloat(cell["duration"], 64)
		history := cell["history"]
		c.guessed = c.proto == "tcp" && !strings.Contains(history, "S") || strings.HasPrefix(history, "^")
		if c.proto != "tcp" && c.answers > 0 {
			c.in = max(c.in, 1) // the table of flows knows answers by their payload
		}
		list = append(list, c)
	}
	if err := scan.Err(); err != nil || len(list) == 0 {
		t.Fatalf("%s: %d lines, %v", name, len(list), err)
	}
	return list
}

// table writes contacts as the flow table of a scenario.
func table(contacts []contact) string {
	first := contacts[0].at
	for _, c := range contacts {
		first = min(first, c.at)
	}
	start := time.Unix(int64(first), 0).UTC()
	var b strings.Builder
	fmt.Fprintf(&b, "start %s\n", start.Format(time.RFC3339))
	for _, c := range contacts {
		at := time.Duration((c.at - float64(start.Unix())) * float64(time.Second))
		fmt.Fprintf(&b, "at=%s took=%s src=%s dst=%s sport=%d port=%d proto=%s state=%s out=%d in=%d guessed=%v\n", at, time.Duration(c.took*float64(time.Second)),
			c.src, c.dst, c.sport, c.port, c.proto, c.state, c.out, c.in, c.guessed)
	}
	return b.String()
}

package meter

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// zeekRow is one line of a conn.log.
type zeekRow = map[string]string

// zeekCase is a capture with the conn.log that a plain run of Zeek makes of it.
type zeekCase struct{ capture, log, test string }

// plainZeek reports whether a baseline's command neither filters packets nor
// loads what changes connections or timeouts.
func plainZeek(command string) bool {
	for _, no := range []string{" -f ", "PLUGIN"} {
		if strings.Contains(command, no) {
			return false
		}
	}
	return strings.Contains(command, "-r ")
}

// zeekCases collects baselines from the unpacked captures and from the corpus.
func zeekCases(t *testing.T) (cases []zeekCase) {
	root := corpus.Dir(t)
	index, err := os.ReadFile(filepath.Join(root, "zeek/expected/INDEX.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(index)) {
		c := strings.Split(strings.TrimSpace(line), "\t")
		if len(c) == 5 && c[2] == "conn.log" && plainZeek(c[3]) {
			cases = append(cases, zeekCase{filepath.Join(root, c[0]), filepath.Join(root, c[4]), c[1]})
		}
	}
	dir := corpus.Unpack(t, "zeek")
	logs, _ := filepath.Glob(filepath.Join(dir, "expected/*/*/conn.log"))
	more, _ := filepath.Glob(filepath.Join(dir, "expected/*/*/*/conn.log"))
	for _, log := range append(logs, more...) {
		rel, _ := filepath.Rel(filepath.Join(dir, "expected"), log)
		capture := filepath.Dir(filepath.Dir(rel))
		cases = append(cases, zeekCase{filepath.Join(dir, "Traces", capture), log, filepath.Base(filepath.Dir(rel))})
	}
	return cases
}

// connKey names a connection without its direction.
func connKey(proto, a, ap, b, bp string) string {
	x, y := a+" "+ap, b+" "+bp
	if x > y {
		x, y = y, x
	}
	return proto + " " + x + " " + y
}

// zeekLike runs a capture with Zeek's timeouts, TCP and the rest apart because
// they differ.
func zeekLike(t *testing.T, path string) (rows []zeekRow) {
	for _, tcp := range []bool{true, false} {
		cfg := Config{ActiveTimeout: 1e6 * time.Hour, IdleTimeout: 5 * time.Minute, UnansweredTimeout: 5 * time.Second, ResumeTime: -1, IgnoreVLAN: true}
		if !tcp {
			cfg.IdleTimeout, cfg.UnansweredTimeout = time.Minute, time.Minute
		}
		run(t, path, cfg, nil, func(r *flow.Record) {
			proto := ""
			switch {
			case tcp && r.Protocol == flow.ProtoTCP:
				proto = "tcp"
			case !tcp && r.Protocol == flow.ProtoUDP:
				proto = "udp"
			default:
				return
			}
			rows = append(rows, zeekRow{
				"id.orig_h": r.SrcIP.String(), "id.orig_p": fmt.Sprint(r.SrcPort), "id.resp_h": r.DstIP.String(), "id.resp_p": fmt.Sprint(r.DstPort),
				"proto": proto, "conn_state": r.ConnState.String(), "history": r.History,
				"orig_pkts": fmt.Sprint(r.SrcPackets), "orig_ip_bytes": fmt.Sprint(r.SrcBytes),
				"resp_pkts": fmt.Sprint(r.DstPackets), "resp_ip_bytes": fmt.Sprint(r.DstBytes),
			})
		})
	}
	return rows
}

// TestZeek compares connections with Zeek's own baselines. What differs on
// purpose is in the comment of zeekDifference.
func TestZeek(t *testing.T) {
	fields := []string{"id.orig_h", "conn_state", "history", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes"}
	equal, total := map[string]int{}, map[string]int{}
	conns, found, explained := 0, 0, map[string]int{}
	for _, c := range zeekCases(t) {
		ours := map[string][]zeekRow{}
		for _, r := range zeekLike(t, c.capture) {
			k := connKey(r["proto"], r["id.orig_h"], r["id.orig_p"], r["id.resp_h"], r["id.resp_p"])
			ours[k] = append(ours[k], r)
		}
		for _, w := range corpus.ZeekLog(t, c.log) {
			if p := w["proto"]; p != "tcp" && p != "udp" || w["id.orig_h"] == "" || w["history"] == "" {
				continue
			}
			conns++
			k := connKey(w["proto"], w["id.orig_h"], w["id.orig_p"], w["id.resp_h"], w["id.resp_p"])
			if len(ours[k]) == 0 {
				reason := zeekDifference(c, w, nil)
				explained[reason]++
				if reason == "" {
					t.Logf("%s %s: no flow for %s", c.test, filepath.Base(c.capture), k)
				}
				continue
			}
			found++
			// Connections of one key come in the order of their end in both.
			g := ours[k][0]
			ours[k] = ours[k][1:]
			var diff []string
			for _, f := range fields {
				if w[f] == "" {
					continue
				}
				got := g[f]
				if got == "" {
					got = "-"
				}
				if got != w[f] {
					diff = append(diff, fmt.Sprintf("%s -%s +%s", f, got, w[f]))
				}
			}
			reason := ""
			if diff != nil {
				reason = zeekDifference(c, w, g)
				explained[reason]++
				if reason == "" || testing.Verbose() {
					t.Logf("%s %s: %s (-ours +Zeek): %s [%s]", c.test, filepath.Base(c.capture), k, strings.Join(diff, ", "), reason)
				}
			}
			if reason == scripted || reason == tunnels {
				continue // Zeek did not count the same packets
			}
			for _, f := range fields {
				if w[f] == "" {
					continue
				}
				total[f]++
				if !slices.ContainsFunc(diff, func(d string) bool { return strings.HasPrefix(d, f+" ") }) {
					equal[f]++
				}
			}
		}
	}
	t.Logf("%d connections of Zeek, %d of them found", conns, found)
	for _, f := range fields {
		t.Logf("quality: %-44s %6d of %6d  %6.2f %%", f+" as Zeek's", equal[f], total[f], 100*float64(equal[f])/float64(max(total[f], 1)))
	}
	for _, reason := range slices.Sorted(maps.Keys(explained)) {
		t.Logf("%4d differ: %s", explained[reason], reason)
	}
	if found < 300 {
		t.Errorf("only %d connections compared", found)
	}
	if explained[""] > 0 {
		t.Errorf("%d connections differ from Zeek without a known reason", explained[""])
	}
}

// zeekDifference names a difference from Zeek that is meant or is not ours; g
// is nil where we have no such flow.
const (
	scripted = "the script of the test filters packets or ends analysis"
	tunnels  = "the tunnel's own flow: we count a packet once, innermost"
)

func zeekDifference(c zeekCase, w, g zeekRow) string {
	name, test := filepath.Base(c.capture), c.test
	has := func(s string, subs ...string) bool {
		return slices.ContainsFunc(subs, func(sub string) bool { return strings.Contains(s, sub) })
	}
	switch {
	case has(test, "dynamic-filter", "netcontrol", "gridftp", "half-duplex", "max-command-length", "client-side"):
		return scripted
	case has(test, "outer_ip_frag"), has(name, "eredo", "ayiya", "gre-over-udp"), has(test, "tunnels") && g == nil:
		return tunnels
	case g != nil && g["history"] == "^h":
		return "a lone SYN-ACK from a service: bare Zeek knows no service ports"
	}
	return ""
}

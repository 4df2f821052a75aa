package quality

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// goals prints what is to be reached beside what was, and what others reach. series
// are the figures of the streaming detector and of the forecast.
func goals(out io.Writer, outcomes []Outcome, series [2]string) {
	fmt.Fprint(out, "# Goals\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "#\tgoal\there\tothers")
	row := func(n int, goal, here, others string) { fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", n, goal, here, others) }
	named := func(part string) (list []Outcome) {
		for _, o := range outcomes {
			if strings.Contains(o.Case, part) {
				list = append(list, o)
			}
		}
		return list
	}

	here := "not run"
	for _, o := range named("rita-server-day1") {
		high := 0
		for _, i := range o.All {
			if i.Detector == "beacon" && rank(i.Severity) >= 3 {
				high++
			}
		}
		here = fmt.Sprintf("not found, %d high beacons", high)
		if f := o.Findings[0]; f.Hit != nil {
			here = fmt.Sprintf("rank %d, %d high beacons, raised %s after the day's first call", f.Rank, high, f.Delay.Round(time.Minute))
		}
	}
	row(1, "a real beacon at rank 1 of a server's day, within 60 min, at most 3 high", here, "RITA: rank 5, 47 high")

	t, twins, raised := &tally{}, 0, 0
	for _, o := range named("beacons, seed") {
		for _, f := range o.Findings {
			if f.Harmless {
				twins++
				raised += min(1, len(f.False))
			} else {
				t.add(f)
			}
		}
	}
	low, high := wilson(t.inTime, t.n)
	row(2, "beacons 30 s to 1 h, jitter to 50 %, within 20 gaps: 95 %; Poisson pollers 0.1 %", fmt.Sprintf("%d of %d (%.2f-%.2f); pollers %d of %d", t.inTime, t.n, low, high, raised, twins), "RITA gives a Poisson poller 0.85")

	t = &tally{}
	queries, wrong := uint64(0), 0
	for _, o := range outcomes {
		queries += o.Queries
		for _, f := range o.Findings {
			if o.Real && f.Family == "dns_tunnel" {
				t.add(f)
			}
			wrong += tunnels(f.False)
		}
		wrong += tunnels(o.Noise)
	}
	inMinute := 0
	for _, d := range t.delays {
		if d <= time.Minute {
			inMinute++
		}
	}
	row(3, "every DNS tunnel of the captures, within 60 s; 1 false in a million queries", fmt.Sprintf("%d of %d, %d within 60 s; %d false in %d queries of all parts", t.found, t.n, inMinute, wrong, queries), "RITA's rule: 69 false windows")

	here = "not run"
	for _, o := range named("strato-002") {
		here = fmt.Sprintf("found %v, %d incidents, %d of them serious", o.Findings[0].Hit != nil, len(o.All), serious(o.All))
	}
	row(4, "the nmap scan of flows/strato-002, at most 5 incidents", here, "Slips: 26 alerts")

	t = &tally{}
	for _, o := range outcomes {
		for _, f := range o.Findings {
			if f.Family == "slowscan" && f.Evasion == "" {
				t.add(f)
			}
		}
	}
	scans, days := 0, 0.0
	for _, o := range append(named("strato-008"), named("strato-010")...) {
		days += o.HostDays
		for _, i := range o.All {
			if strings.Contains(i.Detector, "scan") {
				scans++
			}
		}
	}
	row(5, "slow scans all in the digest; incidents of outside scans at most 2 a host-day", fmt.Sprintf("%d of %d in the digest or an incident of their own; %d in %.0f real host-days", t.found, t.n, scans, days), "Zeek 0-2, TRW 49-72 a day")

	t = &tally{}
	amplified := &tally{}
	for _, o := range outcomes {
		for _, f := range o.Findings {
			switch {
			case f.Harmless:
			case f.Family == "flood":
				t.add(f)
			case f.Family == "amplification":
				amplified.add(f)
			}
		}
	}
	row(6, "SYN floods within 10 s, one incident; all amplification", fmt.Sprintf("floods %d of %d, delay median %s; amplification %d of %d, %s", t.found, t.n, quantile(t.delays, 0.5).Round(time.Second), amplified.found, amplified.n, quantile(amplified.delays, 0.5).Round(time.Second)), "-")

	here = "not run"
	for _, o := range named("malicious-ssh-bruteforce") {
		here = "not found"
		if f := o.Findings[0]; f.Hit != nil {
			here = fmt.Sprintf("found %s after the first", f.Delay.Round(time.Second))
		}
	}
	row(7, "SSH guessing within 9 attempts", here, "Slips 9, Zeek 30")
	row(8, "NAB standard profile 50", series[0], "ADVec 47.1, RCF 51.7")
	row(9, "forecast: MASE 0.85 of seasonal naive, band 93-97 %", series[1], "1.0")

	var perDay []int
	for _, o := range append(append(named("quiet office"), named("strato-008")...), named("strato-010")...) {
		perDay = append(perDay, o.PerDay...)
	}
	row(10, "benign days: serious incidents a host-day median 1, 95th percentile 3", fmt.Sprintf("median %d, 95th percentile %d (%d host-days)", quantile(perDay, 0.5), quantile(perDay, 0.95), len(perDay)), "RITA 9-10")
	w.Flush()
}

// tunnels counts the DNS tunnels among incidents.
func tunnels(list []Incident) (n int) {
	for _, i := range list {
		if i.Detector == "dns_tunnel" {
			n++
		}
	}
	return n
}

func serious(list []Incident) int {
	n := 0
	for _, i := range list {
		if i.Serious() {
			n++
		}
	}
	return n
}

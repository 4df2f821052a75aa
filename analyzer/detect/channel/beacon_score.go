package channel

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// beaconPair is a row of the light statement: calls in the order of time, times in
// milliseconds since the epoch, sizes in IP octets.
type beaconPair struct {
	Site      string   `ch:"site"`
	Src       string   `ch:"src"`
	Target    string   `ch:"target"`
	Named     bool     `ch:"named"`
	Way       string   `ch:"way"`
	Dst       string   `ch:"dst"`
	Addresses uint64   `ch:"addresses"`
	Port      uint16   `ch:"port"`
	Protocol  uint8    `ch:"protocol"`
	JA4       string   `ch:"ja4"`
	Clients   uint64   `ch:"clients"`
	FlowIDs   []string `ch:"flow_ids"`
	Times     []int64  `ch:"times"`
	Sizes     []int64  `ch:"sizes"`
	Hosts     uint64   `ch:"hosts"`
}

// beaconScore is a pair with what beacon.sql says of it, under the names there.
type beaconScore struct {
	*beaconPair
	Lookback                  int64 // seconds
	Connections               int
	First, Last               int64 // ms
	GapMedian, GapSpread      int64 // ms
	SizeMedian, SizeSpread    int64 // octets
	Concentration, Span, Size float64
	Rarity, Score, RITA       float64
	Known                     bool
	Hours                     [24]uint64
}

// before orders as the statement does: the best first.
func (s *beaconScore) before(o *beaconScore) bool {
	return cmp.Or(cmp.Compare(o.Score, s.Score), cmp.Compare(s.Lookback, o.Lookback), cmp.Compare(s.Port, o.Port),
		cmp.Compare(s.Protocol, o.Protocol), cmp.Compare(s.JA4, o.JA4)) < 0
}

// lookbacks are the ranges, in seconds, over which a window that ends at to looks.
func lookbacks(to int64) []int64 {
	all := []int64{3600, 7200, 21600, 86400, 604800}
	switch {
	case to%21600 == 0:
		return all
	case to%3600 == 0:
		return all[:4]
	}
	return all[:2]
}

// score returns the best of the lookbacks, false if none is regular enough.
func (p *beaconPair) score(c BeaconConfig, end time.Time) (best beaconScore, found bool) {
	to := end.Unix()
	for _, back := range lookbacks(to) {
		from, _ := slices.BinarySearch(p.Times, (to-back)*1000)
		if len(p.Times)-from < 7 {
			continue
		}
		s, ok := regular(p, p.Times[from:], p.Sizes[from:], back, c)
		if ok && s.Score >= c.MinScore && (!found || s.before(&best)) {
			best, found = s, true
		}
	}
	if found {
		best.rita(to)
	}
	return best, found
}

// clockLikelihood is asked of likelihood: by Wald's bound a memoryless poller gets
// there in one of 36 000 looks; simulated, of 4000 days of one at most 2 have such a look.
const clockLikelihood = 10.5

// likelihood says how much likelier gaps are of a clock than of a memoryless poller,
// as a logarithm. Of the poller 24.5 % are within 35 % of the median, 36.3 % shorter,
// 23.8 % up to twice as far, 15.4 % farther; of a clock with 50 % jitter and a tenth
// of the calls missing 85, 1, 12 and 1 %. The weight of the first differs for pauses.
func likelihood(gaps []int64, median int64, weight float64) float64 {
	m := float64(median)
	close, short, far := within(gaps, median, 0.65, 1.35), 0, 0
	for _, g := range gaps {
		if float64(g) < 0.65*m {
			short++
		} else if float64(g) > 2.7*m {
			far++
		}
	}
	return float64(close)*weight - 0.685*float64(len(gaps)-close-short-far) - 2.73*float64(far) - 3.6*float64(short)
}

// within counts the gaps from low to high times the median.
func within(gaps []int64, median int64, low, high float64) (n int) {
	for _, g := range gaps {
		if float64(g) >= low*float64(median) && float64(g) <= high*float64(median) {
			n++
		}
	}
	return n
}

// near is the share of gaps within 35 % of their median.
func near(gaps []int64) (median int64, share float64) {
	if len(gaps) == 0 {
		return 0, 0
	}
	median = middle(gaps)
	return median, float64(within(gaps, median, 0.65, 1.35)) / float64(len(gaps))
}

// middle is ClickHouse's medianExact.
func middle(list []int64) int64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	return s[len(s)/2]
}

// deviation is the median distance from m.
func deviation(list []int64, m int64) int64 {
	d := make([]int64, len(list))
	for i, x := range list {
		d[i] = max(x-m, m-x)
	}
	return middle(d)
}

// regular scores the calls of one lookback.
func regular(p *beaconPair, t, sizes []int64, back int64, c BeaconConfig) (s beaconScore, ok bool) {
	var seconds, pauses []int64
	for i := 1; i < len(t); i++ {
		if g := t[i] - t[i-1]; g >= 1000 {
			seconds = append(seconds, g)
			if g >= 10000 {
				pauses = append(pauses, g)
			}
		}
	}
	gaps, weight := seconds, 1.244
	median, conc := near(seconds)
	// Each call may be several connections: then what counts is the pause between the bursts.
	if m, share := near(pauses); m >= 60000 && share > conc && len(pauses) < len(seconds) {
		gaps, median, conc, weight = pauses, m, share, 1.0
	}
	n := len(gaps)
	if n == 0 || conc < c.MinConcentration || float64(median) > c.MaxGap*1000 {
		return s, false
	}
	spread := deviation(gaps, median)
	clock := likelihood(gaps, median, weight) >= clockLikelihood
	if float64(median) >= c.MinGap*1000 {
		ok = n+1 >= c.MinConnections && clock || n >= 6 && within(gaps, median, 0.85, 1.15) == n
	} else {
		ok = p.Way != "in" && !strings.Contains(","+strings.Trim(loginPorts, "[]")+",", fmt.Sprintf(",%d,", p.Port)) && back <= 7200 && n >= 20 && clock
	}
	if !ok {
		return s, false
	}
	s = beaconScore{beaconPair: p, Lookback: back, Connections: len(t), First: t[0], Last: t[len(t)-1], GapMedian: median, GapSpread: spread, SizeMedian: middle(sizes), Concentration: conc}
	s.SizeSpread = deviation(sizes, s.SizeMedian)
	s.Span = min(1, 0.6+0.4*math.Log(1+float64(s.Last-s.First)/3600000)/math.Log(25))
	if s.SizeMedian > 0 {
		s.Size = max(0, 1-max(0, float64(s.SizeSpread)/float64(s.SizeMedian)-c.MaxSizeSpread)/(1-c.MaxSizeSpread))
	}
	s.Known = slices.ContainsFunc(c.KnownNames, func(k string) bool {
		k = strings.ToLower(k)
		return p.Target == k || strings.HasSuffix(p.Target, "."+k)
	})
	s.Rarity = p.rarity(s.Known)
	s.Score = s.Concentration * s.Span * s.Size * s.Rarity
	return s, true
}

// rarity is 1 for one client or 2 % of the hosts, 0.4 for half of them.
func (p *beaconPair) rarity(known bool) float64 {
	r := 1.0
	if p.Way == "in" {
		r = 0.9
	} else if p.Clients > 1 {
		r = min(1, max(0.4, 1-0.6*math.Log(float64(p.Clients)/float64(max(p.Hosts, 20))/0.02)/math.Log(25)))
	}
	if p.Way == "across" {
		r *= 0.7
	}
	if known {
		r *= 0.5
	}
	return r
}

// judge writes what was found.
func (r *beaconScore) judge(a *alert.Alert, c BeaconConfig) {
	a.Actor, a.Victim, a.Entities = r.Src, r.Target, detect.Entities("actor", r.Src, "victim", r.Target, "site", r.Site)
	every := (time.Duration(r.GapMedian) * time.Millisecond).Round(time.Second)
	back := time.Duration(r.Lookback) * time.Second
	a.Title = fmt.Sprintf("%s calls %s every %v", r.Src, r.Target, every)
	a.Start, a.End, a.FlowIDs, a.Magnitude = time.UnixMilli(r.First).UTC(), time.UnixMilli(r.Last).UTC(), r.FlowIDs, float64(r.Connections)
	a.SubScores = map[string]float64{"concentration": r.Concentration, "span": r.Span, "size": r.Size, "rarity": r.Rarity, "rita": r.RITA}
	a.Score, a.Confidence = detect.Bounded(r.Score), detect.Bounded(r.Concentration)
	a.Reasons = []string{
		fmt.Sprintf("%d answered connections to %s in %v, median gap %v, half of them within %.1f s of it", r.Connections, detect.Service(r.Protocol, r.Port), back, every, float64(r.GapSpread)/1000),
		fmt.Sprintf("%.0f %% of the gaps are within 35 %% of their median; %.0f %% are asked, by chance it is 24", 100*r.Concentration, 100*c.MinConcentration),
		fmt.Sprintf("median size %d octets sent, half of them within %d; up to %.0f %% counts as alike", r.SizeMedian, r.SizeSpread, 100*c.MaxSizeSpread),
	}
	switch {
	case r.Score < 0.5:
		a.Severity = alert.Low
	case r.Score < 0.75:
		a.Severity = alert.Medium
	case r.Score < 0.95:
		a.Severity = alert.High
	default:
		a.Severity = alert.Critical
	}
	ceiling := func(s alert.Severity, why string) {
		if s.Rank() <= a.Severity.Rank() {
			a.Severity = s
			a.Reasons = append(a.Reasons, why+": "+string(s)+" at most")
		}
	}
	switch r.Way {
	case "in":
		a.Reasons = append(a.Reasons, "from outside to an inside host, as a check-in with an implant or a monitor would")
	case "across":
		ceiling(alert.Medium, "both are inside, in different networks")
	default:
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d of %d inside hosts call it", r.Clients, r.Hosts))
	}
	if r.Way == "out" && r.Clients >= 5 && r.Clients*10 >= r.Hosts {
		ceiling(alert.Low, "a program that many hosts have")
	}
	if r.Named {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d addresses under this name, the last one %s", r.Addresses, r.Dst))
	}
	if r.JA4 != "" {
		a.Reasons = append(a.Reasons, "counted for the client fingerprint "+r.JA4)
	}
	if r.Known {
		ceiling(alert.Low, "a name of updates, telemetry or push services")
	}
	if float64(r.GapMedian) < 1000*c.MinGap {
		ceiling(alert.Medium, fmt.Sprintf("quicker than %v s, as chatty programs are", c.MinGap))
	}
	if r.Connections < c.MinConnections {
		ceiling(alert.Low, fmt.Sprintf("less than %d connections", c.MinConnections))
	}
	a.Unless = []string{
		fmt.Sprintf("less than %.0f %% of the gaps near their median, or a score below %v", 100*c.MinConcentration, c.MinScore),
		fmt.Sprintf("fewer than %d connections, unless they come like a clock", c.MinConnections),
		"many inside hosts that call the same target, or an exempt source",
	}
	baseline, _ := json.Marshal(map[string]any{"of": "connections by hour of the last 24, newest last; inside hosts that call the target", "hours": r.Hours, "clients": r.Clients, "hosts": max(r.Hosts, 20)}) // cannot fail
	a.Baseline = string(baseline)
}

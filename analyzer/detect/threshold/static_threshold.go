package threshold

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed static_threshold.sql
var staticThresholdSQL string

//go:embed static_threshold_windows.sql
var staticThresholdWindowsSQL string

// newLimits returns a detector for each duration of the limits, or one without
// limits if there are none.
func newLimits(own detect.Own, limits []Limit) []detect.Detector {
	by := map[time.Duration][]Limit{}
	for _, l := range limits {
		by[l.Duration] = append(by[l.Duration], l)
	}
	if len(by) == 0 {
		return nil
	}
	var list []detect.Detector
	for _, l := range limits {
		if same := by[l.Duration]; same != nil {
			list = append(list, newStaticThreshold(own, l.Duration, same))
			delete(by, l.Duration)
		}
	}
	slices.SortFunc(list, func(a, b detect.Detector) int { return int(a.Info().Length - b.Info().Length) })
	return list
}

// newStaticThreshold compares averages over a duration with the operator's limits.
func newStaticThreshold(own detect.Own, duration time.Duration, limits []Limit) detect.Detector {
	byName := map[string]Limit{}
	for _, l := range limits {
		byName[l.Name] = l
	}
	return detect.New(detect.Spec[excess]{
		Info: detect.Info{
			Name: "static_threshold_" + strings.TrimSuffix(duration.String(), "0s"), Version: 1, Title: fmt.Sprintf("Above a limit for %v", duration),
			Length: duration, Step: time.Minute, Gap: time.Hour,
			Doc: `An interface, host, network, port or application is above a limit that the operator has set, on the average of the duration: IP octets, packets or connections a second, in one
direction or both. Records that reach over the edges of the duration count by the share of their time within. Windows move on by a minute. The magnitude is how many times the limit is
reached. The severity is the operator's, medium if nothing is said.`,
			Controls: []string{
				"several probes that see the same: the one that sees most counts",
				"peaks shorter than the duration: the average counts",
			},
			Parameters: []detect.Parameter{{Name: "limits", Value: fmt.Sprint(len(limits)), Doc: "limits of this duration, from the configuration (detect.threshold.limits)"}},
		},
		SQL:    compose(staticThresholdSQL),
		Params: func(w detect.Window) detect.Params { return limitParams(own, limits).Unix(w) },
		Judge: func(a *alert.Alert, r *excess) detect.Verdict {
			r.judge(a, byName[r.Name], duration)
			a.EvidenceParams["name"], a.EvidenceParams["object"], a.EvidenceParams["site"] = r.Name, r.Object, r.Site
			return detect.Raise
		},
		Find:       compose(staticThresholdWindowsSQL),
		FindParams: leastParams(limits, duration),
	})
}

// leastParams are the least amounts in a whole window that a limit lets pass.
func leastParams(limits []Limit, duration time.Duration) detect.Params {
	octets, packets, flows := math.MaxFloat64, math.MaxFloat64, math.MaxFloat64
	for _, l := range limits {
		switch {
		case l.Bytes > 0:
			octets = min(octets, float64(l.Bytes)*duration.Seconds())
		case l.Packets > 0:
			packets = min(packets, l.Packets*duration.Seconds())
		default:
			flows = min(flows, l.Flows*duration.Seconds())
		}
	}
	return detect.Params{"least_bytes": detect.Decimal(octets), "least_packets": detect.Decimal(packets), "least_flows": detect.Decimal(flows)}
}

// limitParams gives limits to the statement as parallel arrays.
func limitParams(own detect.Own, limits []Limit) detect.Params {
	var names, ofs, values, directions, measures, mosts []string
	var networks []netip.Prefix
	for _, l := range limits {
		network := netip.MustParsePrefix("::/128")
		if p, err := netip.ParsePrefix(l.Value); err == nil {
			network = p
		} else if a, err := netip.ParseAddr(l.Value); err == nil {
			network = netip.PrefixFrom(a, a.BitLen())
		}
		measure, most := "bytes", float64(l.Bytes)
		if l.Packets > 0 {
			measure, most = "packets", l.Packets
		} else if l.Flows > 0 {
			measure, most = "flows", l.Flows
		}
		direction := l.Direction
		if direction == "" {
			direction = "both"
		}
		names, ofs, values = append(names, text(l.Name)), append(ofs, text(l.Of)), append(values, text(l.Value))
		directions, measures, mosts = append(directions, text(direction)), append(measures, text(measure)), append(mosts, detect.Decimal(most))
		networks = append(networks, network)
	}
	list := func(parts []string) string { return "[" + strings.Join(parts, ",") + "]" }
	return own.Params().Networks("value", networks).With("names", list(names), "ofs", list(ofs), "values", list(values), "directions", list(directions),
		"measures", list(measures), "mosts", list(mosts), "name", "", "object", "", "site", "")
}

// text writes an element of an Array(String) as ClickHouse reads it in a
// parameter; Limit.check has refused what cannot be written.
func text(s string) string { return "'" + s + "'" }

// excess is a row of the statement; observed and most are a second.
type excess struct {
	Name     string    `ch:"name"`
	Site     string    `ch:"site"`
	Object   string    `ch:"object"`
	Observed float64   `ch:"observed"`
	Most     float64   `ch:"most"`
	First    time.Time `ch:"first"`
	Last     time.Time `ch:"last"`
	FlowIDs  []string  `ch:"flow_ids"`
	Measure  string    `ch:"measure"`
	Excess   float64   `ch:"excess"`
}

// judge says how far above the limit.
func (c excess) judge(a *alert.Alert, l Limit, duration time.Duration) {
	show := func(v float64) string {
		if c.Measure == "bytes" {
			return detect.Size(v)
		}
		return fmt.Sprintf("%.1f %s", v, c.Measure)
	}
	a.Title = fmt.Sprintf("%s: %s %s has %s a second, the limit is %s", c.Name, l.Of, c.Object, show(c.Observed), show(c.Most))
	a.Entities = detect.Entities("limit", c.Name, l.Of, c.Object, "site", c.Site)
	if l.Of == "host" {
		a.Actor = c.Object
	}
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, c.Observed/c.Most
	a.SubScores = map[string]float64{"excess": c.Excess, "observed": c.Observed}
	a.Score, a.Confidence = detect.Bounded(c.Excess), 1
	a.Severity = alert.Severity(l.Severity)
	if l.Severity == "" {
		a.Severity = alert.Medium
	}
	a.Reasons = []string{fmt.Sprintf("%s a second on the average of %v, the limit of the configuration is %s", show(c.Observed), duration, show(c.Most)),
		fmt.Sprintf("the severity is that of the limit %q", c.Name)}
	a.Unless = []string{fmt.Sprintf("at most %s a second", show(c.Most))}
	baseline, _ := json.Marshal(map[string]any{"of": c.Measure + " a second, the configured limit", "limit": c.Most, "observed": c.Observed}) // numbers and text only: cannot fail
	a.Baseline = string(baseline)
}

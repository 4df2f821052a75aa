package behaviour

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/baseline"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

var (
	//go:embed features.sql
	featuresSQL string
	//go:embed host_behaviour.sql
	hostBehaviourSQL string
	//go:embed host_behaviour_windows.sql
	hostBehaviourWindowsSQL string
)

// withFeatures puts the features of a host-hour into a statement.
func withFeatures(sql string) string {
	return strings.ReplaceAll(detect.Compose(sql), "/*features*/", detect.Compose(featuresSQL))
}

// feature is one number about a host-hour; the order is that of features.sql.
type feature struct {
	name   string
	doing  string // for titles: "10.0.0.1 ..."
	octets bool
}

func features() []feature {
	return []feature{
		{"sent_bytes", "sent", true}, {"received_bytes", "received", true},
		{"flows_begun", "began connections", false}, {"flows_answered", "was asked for connections", false},
		{"failed", "failed to connect", false}, {"failed_percent", "failed in percent of connections", false},
		{"peers_called", "called peers", false}, {"peers_calling", "was called by peers", false},
		{"ports_called", "called ports", false}, {"dns_queries", "asked for names", false}, {"dns_failed", "got no answer for names", false},
	}
}

// FeatureNames returns the features of a host-hour, in the order of the vectors
// that models are trained on.
func FeatureNames() []string {
	var names []string
	for _, f := range features() {
		names = append(names, f.name)
	}
	return names
}

// HostBehaviourConfig are the thresholds of host_behaviour.
type HostBehaviourConfig struct {
	MinZ        float64   `conf:"min_z" help:"robust standard deviations above the usual at this hour of the week, on log1p, of two features"`
	AloneZ      float64   `conf:"alone_z" help:"the same of one feature alone"`
	Record      float64   `conf:"record" help:"least factor to the second busiest day of the past"`
	HistoryDays int       `conf:"history_days" help:"days of the past that make the baseline"`
	WarmUpDays  int       `conf:"warm_up_days" help:"days since its first hour for which a host is only learnt"`
	MinBytes    kit.Bytes `conf:"min_bytes" help:"octets sent or received in an hour from which on they count"`
	MinFlows    int       `conf:"min_flows" help:"connections begun or answered in an hour from which on they count"`
	MinFailed   int       `conf:"min_failed" help:"failed connections, or names, in an hour from which on they count"`
	MinPeers    int       `conf:"min_peers" help:"distinct peers, or ports, in an hour from which on they count"`
	MinQueries  int       `conf:"min_queries" help:"DNS queries in an hour from which on they count"`
	Model       string    `conf:"model" help:"file of a trained isolation forest for the second opinion; default: one of the host's own past"`
}

// minimum is the least amount of each feature, in their order.
func (c HostBehaviourConfig) minimum() string {
	return fmt.Sprintf("[%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d]", uint64(c.MinBytes), uint64(c.MinBytes), c.MinFlows, c.MinFlows,
		c.MinFailed, 50, c.MinPeers, c.MinPeers, c.MinPeers, c.MinQueries, c.MinFailed)
}

// newHostBehaviour looks for hours in which a host is not itself.
func newHostBehaviour(own detect.Own, c HostBehaviourConfig) detect.Detector {
	d := detect.New(detect.Spec[hostHour]{
		Info: detect.Info{
			Name: "host_behaviour", Version: 1, Title: "Unusual behaviour of a host", Techniques: []string{"T1071"},
			Length: time.Hour, Step: time.Hour, Gap: 24 * time.Hour, Rollups: []string{"hosts_1h"},
			Doc: `An inside host does far more in an hour than it does at this hour of the week: octets sent and received, connections begun and answered, failures
and their share, peers, callers, ports, DNS queries and those that fail. Each is compared on log1p with median and MAD of the same hour of the week (at least 3 of
them), else of the same hour of every day (at least 7). Two features at min_z or one at alone_z make an incident, if they reach record times what the second
busiest day of the past has in any hour: that calibrates each host by its own extremes. One incident per host; what goes on within a day belongs to it. An isolation forest gives a
second opinion: it changes the confidence and says which features set the hour apart. The magnitude is the largest ratio to the second busiest day of the past.
Low; medium where octets are ten times the second busiest day, high from a hundred times and 1 GB.`,
			Controls: []string{
				"weekly and nightly jobs, also when they move by hours or by daylight saving: no more than one day of the past may have come near",
				"growth: a factor of seven above the usual is needed at the least (4 robust standard deviations of at least 0.5)",
				"new hosts: 14 days are learnt first; hours in which the probes saw the site but not the host count as 0",
				"small numbers: each feature has a least amount",
				"poisoning: odd hours of the past count a tenth or a hundredth in median and MAD",
				"scanners and monitors: exempt addresses are left out",
			},
			Parameters: []detect.Parameter{
				{Name: "min_z", Value: detect.Decimal(c.MinZ), Doc: "robust z of two features; Slips has 3 for hours of learnt services"},
				{Name: "alone_z", Value: detect.Decimal(c.AloneZ), Doc: "robust z of one feature"},
				{Name: "record", Value: detect.Decimal(c.Record), Doc: "factor to the second busiest day of the past; one busy day, an old incident perhaps, does not count"},
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days of the past: four of each hour of the week"},
				{Name: "warm_up_days", Value: fmt.Sprint(c.WarmUpDays), Doc: "days a host is learnt"},
				{Name: "min_bytes", Value: c.MinBytes.String(), Doc: "octets sent or received in the hour"},
				{Name: "min_flows", Value: fmt.Sprint(c.MinFlows), Doc: "connections begun or answered"},
				{Name: "min_failed", Value: fmt.Sprint(c.MinFailed), Doc: "failed connections, failed DNS queries"},
				{Name: "min_peers", Value: fmt.Sprint(c.MinPeers), Doc: "peers called, peers calling, ports"},
				{Name: "min_queries", Value: fmt.Sprint(c.MinQueries), Doc: "DNS queries"},
			},
		},
		SQL: withFeatures(hostBehaviourSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("minimum", c.minimum(), "min_z", detect.Decimal(c.MinZ), "alone_z", detect.Decimal(c.AloneZ), "record", detect.Decimal(c.Record),
				"history_days", detect.Number(c.HistoryDays), "warm_up_days", detect.Number(c.WarmUpDays), "host", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *hostHour) detect.Verdict {
			if r.Learning {
				return detect.Learning
			}
			r.judge(a, c)
			return detect.Raise
		},
		Find:       withFeatures(hostBehaviourWindowsSQL),
		FindParams: own.Params().With("minimum", c.minimum(), "record", detect.Decimal(c.Record), "history_days", detect.Number(c.HistoryDays)),
		Alone:      true,
	})
	return opinion{d, d.(detect.Finder), c}
}

// hostHour is a row of the statement; the lists are of the odd features, the
// oddest first.
type hostHour struct {
	Site      string    `ch:"site"`
	Host      string    `ch:"host_text"`
	First     time.Time `ch:"first"`
	Last      time.Time `ch:"last"`
	Since     time.Time `ch:"known_since"`
	PastHours uint64    `ch:"past_hours"`
	Which     []uint32  `ch:"which"` // from 1
	Amounts   []uint64  `ch:"amounts"`
	Zs        []float64 `ch:"zs"`
	Medians   []float64 `ch:"medians"`
	MADs      []float64 `ch:"mads"`
	Ceilings  []uint64  `ch:"ceilings"`
	Level     string    `ch:"level"`
	Samples   uint64    `ch:"samples"`
	Learning  bool      `ch:"learning"`
	Z         float64   `ch:"z"`
	Deviation float64   `ch:"deviation"`
	Breadth   float64   `ch:"breadth"`
	Novelty   float64   `ch:"novelty"`
}

// text writes an amount of a feature.
func (f feature) text(amount float64) string {
	if f.octets {
		return detect.Size(amount)
	}
	return fmt.Sprintf("%.0f", amount)
}

// measured is an odd feature beside its past.
type measured struct {
	Feature  string  `json:"feature"`
	Observed uint64  `json:"observed"`
	Expected float64 `json:"expected"`
	Median   float64 `json:"median_log1p"`
	MAD      float64 `json:"mad_log1p"`
	Z        float64 `json:"z"`
	Peak     uint64  `json:"second_busiest_day"`
}

// reason says in words how far the feature is from its past; whose is "its" or a name.
func (m measured) reason(f feature, samples uint64, level, whose string) string {
	return fmt.Sprintf("%s: %s, robust z %.1f above %s, the median of %d times the same %s; %s second busiest day of the past has %s",
		f.name, f.text(float64(m.Observed)), m.Z, f.text(m.Expected), samples, level, whose, f.text(float64(m.Peak)))
}

// judge scores an hour of a host.
func (h hostHour) judge(a *alert.Alert, c HostBehaviourConfig) {
	list := features()
	top := list[h.Which[0]-1]
	a.Actor = h.Host
	a.Entities = detect.Entities("host", h.Host, "site", h.Site)
	a.EvidenceParams["host"], a.EvidenceParams["site"] = h.Host, h.Site
	a.Start, a.End = h.First, h.Last
	a.Title = fmt.Sprintf("%s %s: %s in an hour, usual are %s", h.Host, top.doing, top.text(float64(h.Amounts[0])), top.text(math.Expm1(h.Medians[0])))
	a.SubScores = map[string]float64{"z": h.Z, "deviation": h.Deviation, "breadth": h.Breadth, "novelty": h.Novelty}
	a.Score = detect.Bounded(0.5*h.Deviation + 0.2*h.Breadth + 0.3*h.Novelty)
	a.Confidence = 0.8
	if baseline.Level(h.Level) == baseline.HourOfDay {
		a.Confidence = 0.6
	}
	a.Severity = alert.Low
	var past []measured
	for i, w := range h.Which {
		f, amount, peak := list[w-1], h.Amounts[i], h.Ceilings[i]
		ratio := float64(amount) / float64(max(1, peak))
		a.Magnitude = max(a.Magnitude, ratio)
		m := measured{f.name, amount, math.Expm1(h.Medians[i]), h.Medians[i], h.MADs[i], h.Zs[i], peak}
		a.Reasons = append(a.Reasons, m.reason(f, h.Samples, h.Level, "its"))
		switch {
		case f.octets && ratio >= 100 && amount >= 1e9:
			a.Severity = alert.High
		case f.octets && ratio >= 10 && a.Severity == alert.Low:
			a.Severity = alert.Medium
		}
		past = append(past, m)
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than two features at z %v and none at %v", c.MinZ, c.AloneZ),
		fmt.Sprintf("a part of 1/%v of it on two days of the past", c.Record),
		fmt.Sprintf("known for less than %d days (first hour %s)", c.WarmUpDays, h.Since.UTC().Format(time.DateTime)),
		"an exempt address",
	}
	text, _ := json.Marshal(struct { // numbers and text only: cannot fail
		Of      string         `json:"of"`
		Level   baseline.Level `json:"level"`
		Samples uint64         `json:"samples"`
		Since   time.Time      `json:"learnt_since"`
		Until   time.Time      `json:"learnt_until"`
		Hours   uint64         `json:"hours"`
		Odd     []measured     `json:"features"`
	}{"what the host does in an hour", baseline.Level(h.Level), h.Samples, h.Since.UTC(), a.WindowStart, h.PastHours, past})
	a.Baseline = string(text)
}

package behaviour

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed link_capacity.sql
var linkCapacitySQL string

// CapacityConfig are the thresholds of link_capacity.
type CapacityConfig struct {
	Links       []string `conf:"links" help:"capacities of links, as probe=bits per second with k, M or G: [\"edge1=10G\"]; without any nothing is said"`
	Share       float64  `conf:"share" help:"share of the capacity that the busiest hour may take"`
	WithinDays  int      `conf:"within_days" help:"days ahead in which that is reached"`
	HistoryDays int      `conf:"history_days" help:"days of the past that make the trend"`
	WarmUpDays  int      `conf:"warm_up_days" help:"days with traffic that are needed"`
	MinRising   float64  `conf:"min_rising" help:"share of all pairs of days of which the later is the busier"`
}

// parseLinks reads capacities, in bits per second, in the order given.
func parseLinks(list []string) (names []string, capacities []float64, err error) {
	for _, entry := range list {
		name, text, ok := strings.Cut(entry, "=")
		factor := 1.0
		if ok && text != "" {
			if f, known := map[byte]float64{'k': 1e3, 'M': 1e6, 'G': 1e9, 'T': 1e12}[text[len(text)-1]]; known {
				factor, text = f, text[:len(text)-1]
			}
		}
		v, err := strconv.ParseFloat(text, 64)
		if !ok || name == "" || err != nil || !(v > 0) || v > 1e15 {
			return nil, nil, fmt.Errorf("%q is not probe=capacity, as in edge1=10G", entry)
		}
		names, capacities = append(names, name), append(capacities, v*factor)
	}
	return names, capacities, nil
}

// array writes names as a ClickHouse array parameter.
func array(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(n) + "'"
	}
	return "[" + strings.Join(quoted, ",") + "]"
}

// newLinkCapacity says when links are full.
func newLinkCapacity(c CapacityConfig) detect.Detector {
	names, capacities, _ := parseLinks(c.Links) // checked by Check
	numbers := make([]string, len(capacities))
	for i, v := range capacities {
		numbers[i] = detect.Decimal(v)
	}
	return sample(detect.New(detect.Spec[filling]{
		Info: detect.Info{
			Name: "link_capacity", Version: 1, Title: "A link fills up", Length: 24 * time.Hour, Step: 24 * time.Hour, Gap: 7 * 24 * time.Hour, Rollups: []string{"hosts_1h"},
			Doc: `Where the capacity of a link is known, the busiest hour of each day makes a trend, and the day is said on which its line meets the share of the capacity. The line is the median of the slopes of
all pairs of days, so that odd days hardly move it. The magnitude is the load in percent of the capacity. Low; medium within a week, or once it is reached.`,
			Controls: []string{"a busy day: the trend is a median", "noise: enough of all pairs of days must rise", "young links: some days are needed"},
			Parameters: []detect.Parameter{
				{Name: "links", Value: strings.Join(c.Links, " "), Doc: "capacities"},
				{Name: "share", Value: detect.Decimal(c.Share), Doc: "share of the capacity that the busiest hour may take: an hour's mean hides its peaks"},
				{Name: "within_days", Value: fmt.Sprint(c.WithinDays), Doc: "days ahead"},
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days of the trend"},
				{Name: "warm_up_days", Value: fmt.Sprint(c.WarmUpDays), Doc: "days with traffic"},
				{Name: "min_rising", Value: detect.Decimal(c.MinRising), Doc: "share of pairs of days that rise; without a trend it is 0.5"},
			},
		},
		SQL: detect.Compose(linkCapacitySQL),
		Params: func(w detect.Window) detect.Params {
			return detect.Params{}.Unix(w).With("links", array(names), "capacities", "["+strings.Join(numbers, ",")+"]", "share", detect.Decimal(c.Share),
				"within_days", fmt.Sprint(c.WithinDays), "history_days", detect.Number(c.HistoryDays), "warm_up_days", detect.Number(c.WarmUpDays),
				"min_rising", detect.Decimal(c.MinRising), "name", "", "site", "")
		},
		Judge:      func(a *alert.Alert, f *filling) detect.Verdict { return f.judge(a, c) },
		Find:       detect.Compose(knownWindowsSQL),
		FindParams: known(c.HistoryDays, c.WarmUpDays-1),
	}), "link")
}

// filling is a row of the statement; rates are bits per second.
type filling struct {
	Site     string  `ch:"site"`
	Name     string  `ch:"name"`
	Capacity float64 `ch:"capacity"`
	Days     uint64  `ch:"days"`
	Level    float64 `ch:"level"`
	Slope    float64 `ch:"slope"`
	Rising   float64 `ch:"rising"`
	DaysLeft float64 `ch:"days_left"`
	Load     float64 `ch:"load"`
	Urgency  float64 `ch:"urgency"`
}

func (f filling) judge(a *alert.Alert, c CapacityConfig) detect.Verdict {
	date := a.WindowEnd.Add(time.Duration(f.DaysLeft * 24 * float64(time.Hour))).Format(time.DateOnly)
	a.Actor = f.Name
	a.Entities = detect.Entities("link", f.Name, "site", f.Site)
	a.Title = fmt.Sprintf("link %s reaches %.0f %% of its capacity on %s", f.Name, 100*c.Share, date)
	a.Start, a.End = a.WindowStart, a.WindowEnd
	a.SubScores = map[string]float64{"load": f.Load, "urgency": f.Urgency}
	a.Score = detect.Bounded(0.5*f.Load + 0.5*f.Urgency)
	a.Confidence, a.Magnitude, a.Severity = f.Rising, 100*f.Level/f.Capacity, alert.Low
	if f.DaysLeft == 0 {
		a.Title = fmt.Sprintf("link %s takes %.0f %% of its capacity", f.Name, a.Magnitude)
		a.Confidence = 0.9
	}
	if f.DaysLeft <= 7 {
		a.Severity = alert.Medium
	}
	a.Reasons = []string{
		fmt.Sprintf("the busiest hour of a day has %.3g Mbit/s of %.3g, %+.3g a day by the trend of %d days", f.Level/1e6, f.Capacity/1e6, f.Slope/1e6, f.Days),
		fmt.Sprintf("%.0f %% of all pairs of days rise; %.1f days are left, at most %d are said", 100*f.Rising, f.DaysLeft, c.WithinDays),
	}
	a.Unless = []string{fmt.Sprintf("more than %d days left", c.WithinDays), fmt.Sprintf("fewer than %.0f %% of the pairs of days rising", 100*c.MinRising)}
	a.EvidenceParams["name"], a.EvidenceParams["site"] = f.Name, f.Site
	text, _ := json.Marshal(struct { // finite numbers and text only: cannot fail
		Of    string  `json:"of"`
		Days  uint64  `json:"days"`
		Level float64 `json:"level"`
		Slope float64 `json:"slope_a_day"`
	}{"bits per second in the busiest hour of a day", f.Days, f.Level, f.Slope})
	a.Baseline = string(text)
	return detect.Raise
}

package egress

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

//go:embed slow_exfiltration.sql
var slowExfiltrationSQL string

//go:embed slow_exfiltration_windows.sql
var slowExfiltrationWindowsSQL string

// SlowExfiltrationConfig are the thresholds of slow_exfiltration.
type SlowExfiltrationConfig struct {
	MinBytes    kit.Bytes `conf:"min_bytes" help:"payload octets that a new destination got in all; a seventh of it a day is the unit of the sum"`
	MaxDayBytes kit.Bytes `conf:"max_day_bytes" help:"what has more in a day is left to exfiltration and exfiltration_day"`
	Slack       float64   `conf:"slack" help:"units a day that are no matter (k of the CUSUM)"`
	Threshold   float64   `conf:"threshold" help:"sum that raises the alert, in units (h of the CUSUM)"`
	MinRatio    float64   `conf:"min_ratio" help:"least ratio of octets sent to octets received"`
	NewDays     int       `conf:"new_days" help:"a destination is new for so many days"`
}

// newSlowExfiltration looks for data that leaves in small pieces, day by day.
func newSlowExfiltration(own detect.Own, c SlowExfiltrationConfig) detect.Detector {
	return detect.New(detect.Spec[trickle]{
		Info: detect.Info{
			Name: "slow_exfiltration", Version: 1, Title: "Data leaves slowly", Techniques: []string{"T1030", "T1048"},
			Length: 24 * time.Hour, Step: 24 * time.Hour, Gap: 72 * time.Hour, Rollups: []string{"flows_1h", "hosts_1h"},
			Doc: `An inside host sends to one outside address that the site has called for less than two weeks, day by day, and each day too little for the other detectors. The
daily payload octets, in units of min_bytes / 7, are added up, less the slack of each day (CUSUM); the alert is raised when the sum reaches the threshold and the octets min_bytes.
Medium; high from ten times min_bytes or with 24 busy hours or more; low while the site's own history is shorter than the time in which a destination is new. The magnitude is the octets.`,
			Controls: []string{
				"destinations that any inside host called in the 16 days before, or that more than 2 inside hosts call",
				"networks of the role backup, destinations of the role cloud",
				"traffic of which a third or more comes back",
				"days above max_day_bytes, which exfiltration and exfiltration_day judge",
			},
			Parameters: []detect.Parameter{
				{Name: "min_bytes", Value: c.MinBytes.String(), Doc: "in at most new_days days; 100 MB in 7 days is the unit of a day"},
				{Name: "max_day_bytes", Value: c.MaxDayBytes.String(), Doc: "as min_bytes of exfiltration"},
				{Name: "slack", Value: detect.Decimal(c.Slack), Doc: "k of the CUSUM, half a unit is customary (Montgomery)"},
				{Name: "threshold", Value: detect.Decimal(c.Threshold), Doc: "h of the CUSUM, 4 or 5 is customary (Montgomery)"},
				{Name: "min_ratio", Value: detect.Decimal(c.MinRatio), Doc: "sent to received"},
				{Name: "new_days", Value: fmt.Sprint(c.NewDays), Doc: "days for which a destination is new"},
			},
		},
		SQL:        detect.Compose(slowExfiltrationSQL),
		Find:       detect.Compose(slowExfiltrationWindowsSQL),
		FindParams: own.Params().With("min_bytes", detect.Number(int64(c.MinBytes)), "slack", detect.Decimal(c.Slack), "min_ratio", detect.Decimal(c.MinRatio)),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_bytes", detect.Number(int64(c.MinBytes)), "max_day_bytes", detect.Number(int64(c.MaxDayBytes)), "slack", detect.Decimal(c.Slack),
				"threshold", detect.Decimal(c.Threshold), "min_ratio", detect.Decimal(c.MinRatio), "new_days", detect.Number(c.NewDays), "src", "", "dst", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *trickle) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["dst"], a.EvidenceParams["site"] = r.Src, r.Dst, r.Site
			return detect.Raise
		},
	})
}

// trickle is a row of the statement.
type trickle struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Dst         string    `ch:"dst"`
	Sent        uint64    `ch:"sent"`
	Got         uint64    `ch:"got"`
	ActiveDays  uint64    `ch:"active_days"`
	ActiveHours uint64    `ch:"active_hours"`
	TopDay      uint64    `ch:"top_day"`
	Cusum       float64   `ch:"cusum"`
	Hosts       uint64    `ch:"hosts"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	FlowIDs     []string  `ch:"flow_ids"`
	Learning    bool      `ch:"learning"`
	Persistence float64   `ch:"persistence"`
	Amount      float64   `ch:"amount"`
	OneWay      float64   `ch:"one_way"`
}

// judge scores what trickles out.
func (c trickle) judge(a *alert.Alert, own SlowExfiltrationConfig) {
	a.Title = fmt.Sprintf("%s sent %s to %s in small pieces on %d days", c.Src, detect.Size(float64(c.Sent)), c.Dst, c.ActiveDays)
	a.Actor, a.Victim, a.Entities = c.Src, c.Dst, detect.Entities("actor", c.Src, "victim", c.Dst, "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Sent)
	a.SubScores = map[string]float64{"persistence": c.Persistence, "amount": c.Amount, "one_way": c.OneWay}
	a.Score = detect.Bounded(0.4*c.Persistence + 0.4*c.Amount + 0.2*c.OneWay)
	a.Reasons = []string{
		fmt.Sprintf("%s sent and %s received in %d busy hours on %d days, at most %s a day", detect.Size(float64(c.Sent)), detect.Size(float64(c.Got)), c.ActiveHours, c.ActiveDays, detect.Size(float64(c.TopDay))),
		fmt.Sprintf("the sum of its days is %.1f, %s is the alarm", c.Cusum, detect.Decimal(own.Threshold)),
		fmt.Sprintf("the destination is new, and %d inside hosts call it", c.Hosts),
	}
	switch {
	case c.Learning:
		a.Severity, a.Confidence = alert.Low, 0.4
		a.Reasons = append(a.Reasons, "the site has no history before, so that nothing is known to be old")
	case c.Sent >= 10*uint64(own.MinBytes) || c.ActiveHours >= 24:
		a.Severity, a.Confidence = alert.High, 0.7
	default:
		a.Severity, a.Confidence = alert.Medium, 0.6
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %s in %d days", own.MinBytes, own.NewDays),
		"a third as much or more had come back",
		"more than 2 inside hosts called it, or one had done so in the 16 days before",
		"the role backup or cloud for the networks",
	}
	text, _ := json.Marshal(map[string]any{ // numbers and text only: cannot fail
		"of": "CUSUM of daily payload octets to a new destination", "unit_bytes": float64(own.MinBytes) / 7, "slack": own.Slack, "threshold": own.Threshold, "observed": c.Cusum})
	a.Baseline = string(text)
}

package behaviour

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/baseline"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

//go:embed volume_anomaly.sql
var volumeAnomalySQL string

//go:embed volume_anomaly_windows.sql
var volumeAnomalyWindowsSQL string

// VolumeAnomalyConfig are the thresholds of volume_anomaly.
type VolumeAnomalyConfig struct {
	MinBytes    kit.Bytes `conf:"min_bytes" help:"octets an inside host must send or receive in an hour to be looked at"`
	MinZ        float64   `conf:"min_z" help:"robust standard deviations above the usual at this hour of the week, on log1p"`
	HistoryDays int       `conf:"history_days" help:"days of the past that make the baseline"`
}

// newVolumeAnomaly looks for hours in which a host moves more than it ever does.
func newVolumeAnomaly(own detect.Own, c VolumeAnomalyConfig) detect.Detector {
	return detect.New(detect.Spec[hostHour]{
		Info: detect.Info{
			Name: "volume_anomaly", Version: 1, Title: "Unusual volume", Techniques: nil,
			Length: time.Hour, Step: time.Hour,
			Doc: `An inside host sends (out) or receives (in) far more in an hour than it does at this hour of the week. Compared are IP octets on log1p with
median and MAD of the same hour of the week (at least 3 of them), else of the same hour of every day (at least 7), else the host is still being learnt
and nothing is said. Hours in which the probes saw the site but not the host count as 0. Besides the robust z the hour must be above the 0.995 quantile of all
hours of the host, so that a backup that moved by an hour is none. The magnitude is the octets. Low; medium from ten times the past's 0.995 quantile; high from
a hundred times that and 1 GB.`,
			Parameters: []detect.Parameter{
				{Name: "min_bytes", Value: c.MinBytes.String(), Doc: "octets in the hour"},
				{Name: "min_z", Value: detect.Decimal(c.MinZ), Doc: "robust z on log1p; Slips has 3, which is for learnt services"},
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days of the past"},
			},
		},
		SQL: detect.Compose(volumeAnomalySQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_bytes", detect.Number(int64(c.MinBytes)), "min_z", detect.Decimal(c.MinZ), "history_days", detect.Number(c.HistoryDays),
				"host", "", "direction", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *hostHour) detect.Verdict {
			usual := baseline.Baseline{Level: baseline.Level(r.Level), Samples: int(r.Samples), Median: r.Median, MAD: r.MAD}
			if usual.Level == baseline.Learning {
				return detect.Learning
			}
			r.judge(a, usual)
			a.EvidenceParams["host"], a.EvidenceParams["direction"], a.EvidenceParams["site"] = r.Host, r.Direction, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(volumeAnomalyWindowsSQL),
		FindParams: own.Params().With("min_bytes", detect.Number(int64(c.MinBytes)), "history_days", detect.Number(c.HistoryDays)),
	})
}

// hostHour is a row of the statement.
type hostHour struct {
	Site        string    `ch:"site"`
	Host        string    `ch:"host_text"`
	Direction   string    `ch:"direction"`
	Observed    uint64    `ch:"observed"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	Connections uint64    `ch:"connections"`
	FlowIDs     []string  `ch:"flow_ids"`
	Level       string    `ch:"level"`
	Samples     uint64    `ch:"samples"`
	Median      float64   `ch:"median"`
	MAD         float64   `ch:"mad"`
	Z           float64   `ch:"z"`
	Ceiling     float64   `ch:"ceiling"`
	PastHours   uint64    `ch:"past_hours"`
	Deviation   float64   `ch:"deviation"`
	Amount      float64   `ch:"amount"`
	Novelty     float64   `ch:"novelty"`
}

// judge scores an hour of a host.
func (c hostHour) judge(a *alert.Alert, usual baseline.Baseline) {
	verb := "sent"
	if c.Direction == "in" {
		verb = "received"
		a.Victim = c.Host
	} else {
		a.Actor = c.Host
	}
	z := usual.Z(float64(c.Observed))
	expected := math.Expm1(usual.Median)
	a.Title = fmt.Sprintf("%s %s %s in an hour, usual are %s", c.Host, verb, detect.Size(float64(c.Observed)), detect.Size(expected))
	a.Entities = detect.Entities("host", c.Host, "direction", c.Direction, "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Observed)
	a.SubScores = map[string]float64{"z": z, "deviation": c.Deviation, "amount": c.Amount, "novelty": c.Novelty}
	a.Score = detect.Bounded(0.5*c.Deviation + 0.25*c.Amount + 0.25*c.Novelty)
	a.Confidence = 0.8
	if usual.Level == baseline.HourOfDay {
		a.Confidence = 0.6
	}
	switch above := float64(c.Observed) / max(1, c.Ceiling); {
	case above >= 100 && c.Observed >= 1e9:
		a.Severity = alert.High
	case above >= 10:
		a.Severity = alert.Medium
	default:
		a.Severity = alert.Low
	}
	a.Reasons = []string{
		fmt.Sprintf("robust z %.1f above the median of %d times the same %s", z, usual.Samples, usual.Level),
		fmt.Sprintf("its busiest hours of the past (0.995 quantile of %d) have %s", c.PastHours, detect.Size(c.Ceiling)),
		fmt.Sprintf("%d connections", c.Connections),
	}
	text, _ := json.Marshal(struct { // numbers and text only: cannot fail
		Of string `json:"of"`
		baseline.Baseline
		Expected float64 `json:"expected_bytes"`
		Ceiling  float64 `json:"ceiling_bytes"`
		Observed uint64  `json:"observed_bytes"`
	}{"IP octets " + c.Direction + " in an hour", usual, expected, c.Ceiling, c.Observed})
	a.Baseline = string(text)
}

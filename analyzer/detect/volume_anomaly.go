package detect

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/baseline"
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

// volumeAnomaly looks for hours in which a host moves more than it ever does.
type volumeAnomaly struct {
	cfg         Config
	sql, finder string
}

func newVolumeAnomaly(cfg Config) volumeAnomaly {
	return volumeAnomaly{cfg: cfg, sql: compose(volumeAnomalySQL), finder: compose(volumeAnomalyWindowsSQL)}
}

func (d volumeAnomaly) Info() Info {
	c := d.cfg.VolumeAnomaly
	return Info{
		Name: "volume_anomaly", Version: 1, Title: "Unusual volume", Techniques: nil,
		Length: time.Hour, Step: time.Hour,
		Doc: `An inside host sends (out) or receives (in) far more in an hour than it does at this hour of the week. Compared are IP octets on log1p with
median and MAD of the same hour of the week (at least 3 of them), else of the same hour of every day (at least 7), else the host is still being learnt
and nothing is said. Hours in which the probes saw the site but not the host count as 0. Besides the robust z the hour must be above the 0.995 quantile of all
hours of the host, so that a backup that moved by an hour is none. The magnitude is the octets. Low; medium from ten times the past's 0.995 quantile; high from
a hundred times that and 1 GB.`,
		Parameters: []Parameter{
			{"min_bytes", c.MinBytes.String(), "octets in the hour"},
			{"min_z", decimal(c.MinZ), "robust z on log1p; Slips has 3, which is for learnt services"},
			{"history_days", fmt.Sprint(c.HistoryDays), "days of the past"},
		},
	}
}

func (d volumeAnomaly) params(w Window) params {
	c := d.cfg.VolumeAnomaly
	return d.cfg.inside().with("min_bytes", number(int64(c.MinBytes)), "min_z", decimal(c.MinZ), "history_days", number(c.HistoryDays),
		"host", "", "direction", "", "site", "", "from", number(w.Start.Unix()), "to", number(w.End.Unix()))
}

func (d volumeAnomaly) Windows(ctx context.Context, db DB, span Window) ([]time.Time, error) {
	c := d.cfg.VolumeAnomaly
	return windows(ctx, db, d.Info(), d.finder, d.cfg.inside().with("min_bytes", number(int64(c.MinBytes)), "history_days", number(c.HistoryDays)), span)
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

func (d volumeAnomaly) Detect(ctx context.Context, db DB, w Window) (Result, error) {
	p := d.params(w)
	found, err := all[hostHour](ctx, db, d.sql, p)
	if err != nil {
		return Result{}, fmt.Errorf("detect volume_anomaly: %w", err)
	}
	r := Result{Judged: len(found)}
	for _, c := range found {
		usual := baseline.Baseline{Level: baseline.Level(c.Level), Samples: int(c.Samples), Median: c.Median, MAD: c.MAD}
		if usual.Level == baseline.Learning {
			r.Learning++
			continue
		}
		a := base(d.Info(), w)
		c.judge(&a, usual)
		a.EvidenceSQL, a.EvidenceParams = d.sql, p.with("host", c.Host, "direction", c.Direction, "site", c.Site)
		r.Alerts = append(r.Alerts, a)
	}
	return r, nil
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
	a.Title = fmt.Sprintf("%s %s %s in an hour, usual are %s", c.Host, verb, size(float64(c.Observed)), size(expected))
	a.Entities = entities("host", c.Host, "direction", c.Direction, "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Observed)
	a.SubScores = map[string]float64{"z": z, "deviation": c.Deviation, "amount": c.Amount, "novelty": c.Novelty}
	a.Score = bounded(0.5*c.Deviation + 0.25*c.Amount + 0.25*c.Novelty)
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
		fmt.Sprintf("its busiest hours of the past (0.995 quantile of %d) have %s", c.PastHours, size(c.Ceiling)),
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

// size writes octets for people.
func size(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n, i = n/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

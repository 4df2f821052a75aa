package egress

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/baseline"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

//go:embed exfiltration.sql
var exfiltrationSQL string

//go:embed exfiltration_windows.sql
var exfiltrationWindowsSQL string

// ExfiltrationConfig are the thresholds of exfiltration.
type ExfiltrationConfig struct {
	MinBytes    kit.Bytes `conf:"min_bytes" help:"payload octets in an hour from one inside host to one rare outside name or address"`
	MinBytesAny kit.Bytes `conf:"min_bytes_any" help:"the same to one that is not rare"`
	MinRatio    float64   `conf:"min_ratio" help:"least ratio of octets sent to octets received"`
	MinZ        float64   `conf:"min_z" help:"robust standard deviations above the host's own outbound octets at this hour of the week"`
	HistoryDays int       `conf:"history_days" help:"days of the past that make the baseline"`
}

// newExfiltration looks for data that leaves.
func newExfiltration(own detect.Own, c ExfiltrationConfig) detect.Detector {
	return detect.New(detect.Spec[upload]{
		Info: detect.Info{
			Name: "exfiltration", Version: 1, Title: "Data leaves by volume", Techniques: []string{"T1048", "T1041"},
			Length: time.Hour, Step: time.Hour,
			Doc: `An inside host sends much to one outside name (TLS or QUIC server name) or address in an hour and gets little back. Its outbound payload octets in that hour
must be far above its own at the same hour of the week (median and MAD on log1p, as volume_anomaly has it), above the 0.995 quantile of its past, and, where at least
5 other inside hosts sent something, above theirs by 2 robust standard deviations. A destination is rare when at most 2 % of the inside hosts, or one, called it in the history. High;
critical from ten times min_bytes_any; medium where the destination is not rare. A host without history is being learnt: then only what is 6 robust standard deviations above at least
5 peers is said, and is low. The magnitude is the octets. Octets that leave in answers of inside servers are not counted.`,
			Parameters: []detect.Parameter{
				{Name: "min_bytes", Value: c.MinBytes.String(), Doc: "to a rare destination"},
				{Name: "min_bytes_any", Value: c.MinBytesAny.String(), Doc: "to any; Slips has 500 MB for a host"},
				{Name: "min_ratio", Value: detect.Decimal(c.MinRatio), Doc: "sent to received"},
				{Name: "min_z", Value: detect.Decimal(c.MinZ), Doc: "robust z against the own past"},
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days of the past"},
			},
		},
		SQL: detect.Compose(exfiltrationSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_bytes", detect.Number(int64(c.MinBytes)), "min_bytes_any", detect.Number(int64(c.MinBytesAny)), "min_ratio", detect.Decimal(c.MinRatio),
				"min_z", detect.Decimal(c.MinZ), "history_days", detect.Number(c.HistoryDays), "src", "", "target", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *upload) detect.Verdict {
			usual := baseline.Baseline{Level: baseline.Level(r.Level), Samples: int(r.Samples), Median: r.Median, MAD: r.MAD}
			if usual.Level == baseline.Learning && (r.PeerCount < 5 || r.PeerZ < 6) {
				return detect.Learning
			}
			r.judge(a, usual, uint64(c.MinBytesAny))
			a.EvidenceParams["src"], a.EvidenceParams["target"], a.EvidenceParams["site"] = r.Src, r.Target, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(exfiltrationWindowsSQL),
		FindParams: own.Params().With("min_bytes", detect.Number(int64(c.MinBytes))),
	})
}

// upload is a row of the statement.
type upload struct {
	Site         string    `ch:"site"`
	Src          string    `ch:"src"`
	Target       string    `ch:"target"`
	Sent         uint64    `ch:"sent"`
	Got          uint64    `ch:"got"`
	Observed     uint64    `ch:"observed"`
	First        time.Time `ch:"first"`
	Last         time.Time `ch:"last"`
	Connections  uint64    `ch:"connections"`
	FlowIDs      []string  `ch:"flow_ids"`
	Callers      uint64    `ch:"callers"`
	Rare         bool      `ch:"rare"`
	Level        string    `ch:"level"`
	Samples      uint64    `ch:"samples"`
	Median       float64   `ch:"median"`
	MAD          float64   `ch:"mad"`
	Ceiling      float64   `ch:"ceiling"`
	PastHours    uint64    `ch:"past_hours"`
	PeerCount    uint64    `ch:"peer_count"`
	PeerMedian   float64   `ch:"peer_median"`
	PeerZ        float64   `ch:"peer_z"`
	OwnPast      float64   `ch:"own_past"`
	AgainstPeers float64   `ch:"against_peers"`
	OneWay       float64   `ch:"one_way"`
	Rarity       float64   `ch:"rarity"`
	Amount       float64   `ch:"amount"`
}

// judge scores an upload.
func (c upload) judge(a *alert.Alert, usual baseline.Baseline, large uint64) {
	a.Actor, a.Victim = c.Src, c.Target
	kind := "sni"
	if _, err := netip.ParseAddr(c.Target); err == nil {
		kind = "victim"
	}
	a.Entities = detect.Entities("actor", c.Src, kind, c.Target, "site", c.Site)
	a.Title = fmt.Sprintf("%s sent %s to %s in an hour", c.Src, detect.Size(float64(c.Sent)), c.Target)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Sent)
	a.SubScores = map[string]float64{"own_past": c.OwnPast, "against_peers": c.AgainstPeers, "one_way": c.OneWay, "rarity": c.Rarity, "amount": c.Amount}
	a.Score = detect.Bounded(0.3*c.OwnPast + 0.15*c.AgainstPeers + 0.2*c.OneWay + 0.15*c.Rarity + 0.2*c.Amount)
	expected := math.Expm1(usual.Median)
	a.Reasons = []string{
		fmt.Sprintf("%s sent and %s received in %d connections", detect.Size(float64(c.Sent)), detect.Size(float64(c.Got)), c.Connections),
		fmt.Sprintf("%d inside hosts called the destination in the history", c.Callers),
	}
	switch {
	case usual.Level == baseline.Learning:
		a.Severity, a.Confidence = alert.Low, 0.4
		a.Reasons = append(a.Reasons, "the host's own past is still being learnt")
	case !c.Rare:
		a.Severity, a.Confidence = alert.Medium, 0.6
	case c.Sent >= 10*large:
		a.Severity, a.Confidence = alert.Critical, 0.8
	default:
		a.Severity, a.Confidence = alert.High, 0.8
	}
	if usual.Level != baseline.Learning {
		a.Reasons = append(a.Reasons, fmt.Sprintf("robust z %.1f above its own outbound %s of %d times the same %s; its busiest hours of %d have %s",
			usual.Z(float64(c.Observed)), detect.Size(expected), usual.Samples, usual.Level, c.PastHours, detect.Size(c.Ceiling)))
	}
	if c.PeerCount >= 5 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("robust z %.1f above %d other inside hosts in this hour, whose median is %s", c.PeerZ, c.PeerCount, detect.Size(math.Expm1(c.PeerMedian))))
	}
	text, _ := json.Marshal(struct { // numbers and text only: cannot fail
		Of string `json:"of"`
		baseline.Baseline
		Expected   float64 `json:"expected_bytes"`
		Ceiling    float64 `json:"ceiling_bytes"`
		Observed   uint64  `json:"observed_bytes"`
		Peers      uint64  `json:"peers"`
		PeerMedian float64 `json:"peer_median_bytes"`
	}{"payload octets to the outside in an hour", usual, expected, c.Ceiling, c.Observed, c.PeerCount, math.Expm1(c.PeerMedian)})
	a.Baseline = string(text)
}

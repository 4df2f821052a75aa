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

// ExfiltrationConfig are the thresholds of exfiltration and exfiltration_day.
type ExfiltrationConfig struct {
	MinBytes    kit.Bytes `conf:"min_bytes" help:"payload octets in a window from one inside host to one rare outside name or address"`
	MinBytesAny kit.Bytes `conf:"min_bytes_any" help:"the same to one that is not rare, or in answers to an outside client"`
	MinBytesOdd kit.Bytes `conf:"min_bytes_odd" help:"the same within ICMP or DNS"`
	MinRatio    float64   `conf:"min_ratio" help:"least ratio of octets sent to octets received"`
	MinZ        float64   `conf:"min_z" help:"robust standard deviations above the host's own outbound octets at this hour of the week"`
	HistoryDays int       `conf:"history_days" help:"days of the past that make the baseline"`
}

// newExfiltration looks for data that leaves within an hour.
func newExfiltration(own detect.Own, c ExfiltrationConfig) detect.Detector {
	return exfiltration(own, c, detect.Info{
		Name: "exfiltration", Version: 2, Title: "Data leaves by volume", Length: time.Hour, Step: time.Hour,
		Doc: `An inside host sends much to one outside name (TLS or QUIC server name) or address in an hour and gets little back, or its answers to one outside client are that
much. Its outbound payload octets in that hour must be far above its own at the same hour of the week (median and MAD on log1p), above the 0.995 quantile of its past, and, where at
least 5 other inside hosts sent something, above theirs by 2 robust standard deviations. A destination is rare when at most 2 % of the inside hosts, or one, called its address or its
name in the history. Within ICMP and DNS a tenth is enough: nobody moves megabytes there. High; critical from ten times min_bytes_any; medium where the destination is not rare, and
for answers. A host without history is being learnt: what is 4 robust standard deviations above 5 peers or more is low, medium from 6 where the destination is rare and twice the
threshold is reached; without peers min_bytes_any is needed, and it is low. Of answers nothing is said while learning. The magnitude is the octets.`,
	})
}

// newExfiltrationDay looks for data that leaves within a day, of which no hour has
// enough.
func newExfiltrationDay(own detect.Own, c ExfiltrationConfig) detect.Detector {
	return exfiltration(own, c, detect.Info{
		Name: "exfiltration_day", Version: 1, Title: "Data leaves by volume, over a day", Length: 24 * time.Hour, Step: 24 * time.Hour,
		Doc: `As exfiltration, but over a day (UTC), against the days before it (the same weekday, else all), and only where no single hour reaches the threshold: what
trickles out at 2 MB every 5 minutes is found here. The magnitude is the octets.`,
	})
}

func exfiltration(own detect.Own, c ExfiltrationConfig, info detect.Info) detect.Detector {
	info.Techniques, info.Rollups = []string{"T1048", "T1041"}, []string{"flows_1h", "hosts_1h", "names_1h", "first_seen"}
	info.Controls = []string{
		"hosts and destinations whose network has the role backup, and destinations of the role cloud",
		"a host that sends as much every week or every day at that hour",
		"calls and synchronisation, where as much comes back",
		"what most of the inside hosts send to a popular name, unless it is min_bytes_any",
		"flows whose initiator is a guess",
	}
	info.Parameters = []detect.Parameter{
		{Name: "min_bytes", Value: c.MinBytes.String(), Doc: "to a rare destination"},
		{Name: "min_bytes_any", Value: c.MinBytesAny.String(), Doc: "to any; Slips has 500 MB for a host"},
		{Name: "min_bytes_odd", Value: c.MinBytesOdd.String(), Doc: "within ICMP or DNS; a ping of 56 octets a second is 0.2 MB an hour"},
		{Name: "min_ratio", Value: detect.Decimal(c.MinRatio), Doc: "sent to received"},
		{Name: "min_z", Value: detect.Decimal(c.MinZ), Doc: "robust z against the own past"},
		{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days of the past"},
	}
	unit := int64(info.Length / time.Second)
	return detect.New(detect.Spec[upload]{
		Info: info,
		SQL:  detect.Compose(exfiltrationSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_bytes", detect.Number(int64(c.MinBytes)), "min_bytes_any", detect.Number(int64(c.MinBytesAny)),
				"min_bytes_odd", detect.Number(int64(c.MinBytesOdd)), "min_ratio", detect.Decimal(c.MinRatio), "min_z", detect.Decimal(c.MinZ),
				"history_days", detect.Number(c.HistoryDays), "unit", detect.Number(unit), "src", "", "target", "", "side", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *upload) detect.Verdict {
			usual := baseline.Baseline{Level: baseline.Level(r.Level), Samples: int(r.Samples), Median: r.Median, MAD: r.MAD}
			if usual.Level == baseline.Learning && (r.Side == "server" || r.PeerCount < 5 && r.Sent < uint64(c.MinBytesAny) || r.PeerCount >= 5 && r.PeerZ < 4) {
				return detect.Learning
			}
			r.judge(a, usual, c)
			a.EvidenceParams["src"], a.EvidenceParams["target"], a.EvidenceParams["side"], a.EvidenceParams["site"] = r.Src, r.Target, r.Side, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(exfiltrationWindowsSQL),
		FindParams: own.Params().With("min_bytes", detect.Number(int64(c.MinBytes)), "min_bytes_odd", detect.Number(int64(c.MinBytesOdd))),
	})
}

// upload is a row of the statement.
type upload struct {
	Site         string    `ch:"site"`
	Side         string    `ch:"side"`
	Carrier      string    `ch:"carrier"`
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
	Least        uint64    `ch:"least_bytes"`
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
func (c upload) judge(a *alert.Alert, usual baseline.Baseline, own ExfiltrationConfig) {
	span := "hour"
	if a.WindowEnd.Sub(a.WindowStart) > time.Hour {
		span = "day"
	}
	a.Actor, a.Victim = c.Src, c.Target
	kind := "sni"
	if _, err := netip.ParseAddr(c.Target); err == nil {
		kind = "victim"
	}
	side := ""
	if c.Side == "server" {
		side = c.Side
	}
	a.Entities = detect.Entities("actor", c.Src, kind, c.Target, "side", side, "site", c.Site)
	a.Title = fmt.Sprintf("%s sent %s to %s in %s %s", c.Src, detect.Size(float64(c.Sent)), c.Target, article(span), span)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Sent)
	a.SubScores = map[string]float64{"own_past": c.OwnPast, "against_peers": c.AgainstPeers, "one_way": c.OneWay, "rarity": c.Rarity, "amount": c.Amount}
	a.Score = detect.Bounded(0.3*c.OwnPast + 0.15*c.AgainstPeers + 0.2*c.OneWay + 0.15*c.Rarity + 0.2*c.Amount)
	expected := math.Expm1(usual.Median)
	a.Reasons = []string{
		fmt.Sprintf("%s sent and %s received in %d connections", detect.Size(float64(c.Sent)), detect.Size(float64(c.Got)), c.Connections),
		fmt.Sprintf("%d inside hosts called the destination in the history", c.Callers),
	}
	switch {
	case usual.Level == baseline.Learning && c.Rare && c.PeerZ >= 6 && c.Sent >= 2*c.Least:
		a.Severity, a.Confidence = alert.Medium, 0.5
		a.Reasons = append(a.Reasons, "the host's own past is still being learnt")
	case usual.Level == baseline.Learning:
		a.Severity, a.Confidence = alert.Low, 0.4
		a.Reasons = append(a.Reasons, "the host's own past is still being learnt")
	case !c.Rare && c.Carrier != "icmp" && c.Carrier != "dns":
		a.Severity, a.Confidence = alert.Medium, 0.6
	case c.Sent >= 10*uint64(own.MinBytesAny):
		a.Severity, a.Confidence = alert.Critical, 0.8
	default:
		a.Severity, a.Confidence = alert.High, 0.8
	}
	if usual.Level != baseline.Learning {
		a.Reasons = append(a.Reasons, fmt.Sprintf("robust z %.1f above its own outbound %s of %d times the same %s; its busiest of %d before had %s",
			usual.Z(float64(c.Observed)), detect.Size(expected), usual.Samples, usual.Level, c.PastHours, detect.Size(c.Ceiling)))
	}
	if c.PeerCount >= 5 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("robust z %.1f above %d other inside hosts in the same time, whose median is %s", c.PeerZ, c.PeerCount, detect.Size(math.Expm1(c.PeerMedian))))
	}
	switch c.Carrier {
	case "icmp", "dns":
		a.Techniques = []string{"T1048.003", "T1095"}
		a.Reasons = append(a.Reasons, fmt.Sprintf("it is carried within %s, where %s are enough", c.Carrier, detect.Size(float64(c.Least))))
	case "ftp", "ftp_data", "tftp", "smtp":
		a.Techniques = []string{"T1048.003"}
		a.Reasons = append(a.Reasons, "it is carried in the clear by "+c.Carrier)
	case "ssh":
		a.Techniques = []string{"T1048.002"}
		a.Reasons = append(a.Reasons, "it is carried by ssh")
	}
	if side != "" {
		a.Reasons = append(a.Reasons, "it left in answers to an outside client")
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %s to this destination", detect.Size(float64(c.Least))),
		fmt.Sprintf("less than %s times as much sent as received", detect.Decimal(own.MinRatio)),
		fmt.Sprintf("a robust z below %s against the host's own past", detect.Decimal(own.MinZ)),
		"the role backup for the host's network, or backup or cloud for the destination's",
	}
	text, _ := json.Marshal(struct { // numbers and text only: cannot fail
		Of string `json:"of"`
		baseline.Baseline
		Expected   float64 `json:"expected_bytes"`
		Ceiling    float64 `json:"ceiling_bytes"`
		Observed   uint64  `json:"observed_bytes"`
		Peers      uint64  `json:"peers"`
		PeerMedian float64 `json:"peer_median_bytes"`
	}{"payload octets to the outside in a window", usual, expected, c.Ceiling, c.Observed, c.PeerCount, math.Expm1(c.PeerMedian)})
	a.Baseline = string(text)
}

// article is that of a span.
func article(span string) string {
	if span == "hour" {
		return "an"
	}
	return "a"
}

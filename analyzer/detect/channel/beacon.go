package channel

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed beacon.sql
var beaconSQL string

//go:embed beacon_windows.sql
var beaconWindowsSQL string

// BeaconConfig are the thresholds of beacon.
type BeaconConfig struct {
	MinScore         float64 `conf:"min_score" help:"least score for an alert, 0 to 1"`
	MinGap           float64 `conf:"min_gap" help:"least median time between connections, seconds"`
	MinConnections   int     `conf:"min_connections" help:"connections in 24 hours that make an alert trustworthy; with less its severity is low at most"`
	MinConcentration float64 `conf:"min_concentration" help:"least share of gaps within 35 % of their median, 0 to 1"`
}

// newBeacon looks for connections that are made by a clock.
func newBeacon(own detect.Own, c BeaconConfig) detect.Detector {
	return detect.New(detect.Spec[beaconPair]{
		Info: detect.Info{
			Name: "beacon", Version: 1, Title: "Beacon", Techniques: []string{"T1071.001", "T1573"},
			Length: 24 * time.Hour, Step: 6 * time.Hour,
			Doc: `An inside host calls the same name (TLS or QUIC server name) or outside address and port at regular times with messages of like
size. The score is that of RITA v5 over 24 hours: a quarter each for the times (ts), the sizes (ds, IP octets of the initiator in a connection's first record),
the duration (dur) and the histogram by hour (hist); at least 4 answered connections. An alert needs a score of 0.5, and gaps concentrated around their median:
60 % of them within 35 %, and with few gaps so many (90 % at most) that a memoryless poller, of whose gaps 24.5 % are there, would be 5 standard
deviations away: such a poller of constant size has 0.8 by score alone. With less than min_connections it takes a score of 0.7, and the severity is low at most. Severity low from 0.5,
medium from 0.7, high from 0.9, critical at 1, where RITA has a threat of 0.2, 0.4, 0.6 and 0.8. The magnitude is the number of connections. A pair that has a name is not counted
again by address. Left out: DNS, DHCP, NTP and mDNS ports, multicast, and what stays inside.`,
			Parameters: []detect.Parameter{
				{Name: "min_score", Value: detect.Decimal(c.MinScore), Doc: "RITA's lowest category begins at 0.5"},
				{Name: "min_gap", Value: detect.Decimal(c.MinGap), Doc: "least median gap in seconds"},
				{Name: "min_connections", Value: fmt.Sprint(c.MinConnections), Doc: "below it, severity low at most"},
				{Name: "min_concentration", Value: detect.Decimal(c.MinConcentration), Doc: "share of gaps near the median; 0.92 is passed with 50 % jitter, 0.00 by a Poisson process"},
			},
		},
		SQL: detect.Compose(beaconSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_score", detect.Decimal(c.MinScore), "min_gap", detect.Decimal(c.MinGap), "min_concentration", detect.Decimal(c.MinConcentration),
				"min_connections", detect.Number(c.MinConnections), "src", "", "sni", "", "dst", "", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *beaconPair) detect.Verdict {
			r.judge(a, uint64(c.MinConnections))
			a.EvidenceParams["src"], a.EvidenceParams["sni"], a.EvidenceParams["dst"] = r.Src, r.SNI, r.Dst
			a.EvidenceParams["port"], a.EvidenceParams["site"] = detect.Number(r.Port), r.Site
			return detect.Raise
		},
		Find:       detect.Compose(beaconWindowsSQL),
		FindParams: own.Params().With("min_concentration", detect.Decimal(c.MinConcentration)),
	})
}

// beaconPair is a row of the statement.
type beaconPair struct {
	Site          string    `ch:"site"`
	Src           string    `ch:"src"`
	SNI           string    `ch:"sni"`
	Dst           string    `ch:"dst"`
	Addresses     uint64    `ch:"addresses"`
	Port          uint16    `ch:"port"`
	Protocol      uint8     `ch:"protocol"`
	Connections   uint64    `ch:"connections"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	GapMedian     float64   `ch:"gap_median"`
	GapMAD        float64   `ch:"gap_mad"`
	SizeMedian    float64   `ch:"size_median"`
	SizeMAD       float64   `ch:"size_mad"`
	Concentration float64   `ch:"concentration"`
	Hours         []uint64  `ch:"hours"`
	TS            float64   `ch:"ts"`
	DS            float64   `ch:"ds"`
	Dur           float64   `ch:"dur"`
	Hist          float64   `ch:"hist"`
	Score         float64   `ch:"score"`
}

// judge scores a pair.
func (c beaconPair) judge(a *alert.Alert, trusted uint64) {
	target := c.Dst
	a.Entities = detect.Entities("actor", c.Src, "port", detect.Service(c.Protocol, c.Port), "site", c.Site)
	if c.SNI != "" {
		target = c.SNI
		a.Entities = append(a.Entities, "sni="+c.SNI)
	} else {
		a.Entities = append(a.Entities, "victim="+c.Dst)
	}
	a.Actor, a.Victim = c.Src, target
	every := time.Duration(c.GapMedian * float64(time.Second)).Round(time.Second)
	a.Title = fmt.Sprintf("%s calls %s every %v", c.Src, target, every)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Connections)
	a.SubScores = map[string]float64{"ts": c.TS, "ds": c.DS, "dur": c.Dur, "hist": c.Hist}
	a.Score, a.Confidence = detect.Bounded(c.Score), detect.Bounded(c.Concentration)
	switch {
	case c.Score < 0.7 || c.Connections < trusted:
		a.Severity = alert.Low
	case c.Score < 0.9:
		a.Severity = alert.Medium
	case c.Score < 1:
		a.Severity = alert.High
	default:
		a.Severity = alert.Critical
	}
	a.Reasons = []string{
		fmt.Sprintf("%d answered connections in 24 hours, median gap %v, half of them within %.0f s of it", c.Connections, every, c.GapMAD),
		fmt.Sprintf("median size %.0f octets sent, half of them within %.0f", c.SizeMedian, c.SizeMAD),
		fmt.Sprintf("%.0f %% of the gaps are within 35 %% of their median", 100*c.Concentration),
	}
	if c.SNI != "" {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d addresses under this name, the last one %s", c.Addresses, c.Dst))
	}
	if c.Connections < trusted {
		a.Reasons = append(a.Reasons, fmt.Sprintf("less than %d connections: low at most", trusted))
	}
	baseline, _ := json.Marshal(map[string]any{"of": "connections by hour of the window", "hours": c.Hours}) // cannot fail
	a.Baseline = string(baseline)
}

package flood

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed slow_http.sql
var slowHTTPSQL string

//go:embed slow_http_windows.sql
var slowHTTPWindowsSQL string

// SlowHTTPConfig are the thresholds of slow_http.
type SlowHTTPConfig struct {
	MinConnections int           `conf:"min_connections" help:"slow connections of one source to one service, open at once"`
	MinDuration    time.Duration `conf:"min_duration" help:"how long a slow connection is open at least"`
	MaxRate        float64       `conf:"max_rate" help:"octets of payload a minute in either direction, at most"`
}

// newSlowHTTP looks for connections that are held open to use up a web server.
func newSlowHTTP(own detect.Own, c SlowHTTPConfig) detect.Detector {
	return detect.New(detect.Spec[slowness]{
		Info: detect.Info{
			Name: "slow_http", Version: 1, Title: "Slow HTTP", Techniques: []string{"T1499.002"},
			Length: 10 * time.Minute, Step: 5 * time.Minute, Gap: 2 * time.Hour,
			Doc: `One source keeps many connections to one web service open for long that hardly carry anything, as Slowloris, slow posts and slow reads do. Records of a connection are put
together. The magnitude is the most such connections open at once. High when the service is inside and most of them were never answered; medium when they were; low when the service is
outside.`,
			Controls: []string{
				"sources that stand for many: networks with the roles nat, proxy, gateway, monitor, scanner, and exempt sources",
				"long polls and push services: few connections to each, or answered and low",
			},
			Parameters: []detect.Parameter{
				{Name: "min_connections", Value: fmt.Sprint(c.MinConnections), Doc: "open at once"},
				{Name: "min_duration", Value: c.MinDuration.String(), Doc: "of each of them"},
				{Name: "max_rate", Value: detect.Decimal(c.MaxRate), Doc: "octets of payload a minute, in either direction"},
			},
		},
		SQL: compose(slowHTTPSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_connections", detect.Number(c.MinConnections), "min_seconds", detect.Number(int64(c.MinDuration/time.Second)), "max_rate", detect.Decimal(c.MaxRate),
				"src", "", "dst", "", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *slowness) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["dst"], a.EvidenceParams["port"], a.EvidenceParams["site"] = r.Src, r.Dst, detect.Number(r.Port), r.Site
			return detect.Raise
		},
		Find:       compose(slowHTTPWindowsSQL),
		FindParams: detect.Params{"min_connections": detect.Number(c.MinConnections)},
	})
}

// slowness is a row of the statement.
type slowness struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Dst         string    `ch:"dst"`
	Port        uint16    `ch:"port"`
	Open        uint64    `ch:"open_at_once"`
	Connections uint64    `ch:"slow_connections"`
	Unanswered  float64   `ch:"unanswered"`
	MeanRate    float64   `ch:"mean_rate"`
	First       time.Time `ch:"first_seen_at"`
	Last        time.Time `ch:"last_seen_at"`
	FlowIDs     []string  `ch:"flow_ids"`
	Inside      bool      `ch:"dst_is_inside"`
	Breadth     float64   `ch:"breadth"`
	Slowness    float64   `ch:"slowness"`
	Silence     float64   `ch:"silence"`
}

// judge scores slow connections.
func (c slowness) judge(a *alert.Alert, limits SlowHTTPConfig) {
	a.Title = fmt.Sprintf("%s keeps %d slow connections to %s port %d open", c.Src, c.Open, c.Dst, c.Port)
	a.Actor, a.Victim, a.Entities = c.Src, c.Dst, detect.Entities("actor", c.Src, "victim", c.Dst, "port", detect.Service(6, c.Port), "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Open)
	a.SubScores = map[string]float64{"breadth": c.Breadth, "slowness": c.Slowness, "silence": c.Silence}
	a.Score, a.Confidence = detect.Bounded(0.5*c.Breadth+0.2*c.Slowness+0.3*c.Silence), 0.8
	switch {
	case !c.Inside:
		a.Severity, a.Confidence = alert.Low, 0.4
	case c.Unanswered >= 0.5:
		a.Severity = alert.High
	default:
		a.Severity, a.Confidence = alert.Medium, 0.6
	}
	a.Reasons = []string{
		fmt.Sprintf("%d connections open at once, %d are enough, each for %v or longer; %d in all", c.Open, limits.MinConnections, limits.MinDuration, c.Connections),
		fmt.Sprintf("%.0f octets of payload a minute on average, slow is below %.0f", c.MeanRate, limits.MaxRate),
		fmt.Sprintf("%.0f %% of them were never answered; the service is inside: %v", 100*c.Unanswered, c.Inside),
	}
	a.Unless = []string{fmt.Sprintf("fewer than %d such connections at once", limits.MinConnections), "a source that is exempt or has a role that stands for many"}
}

package threshold

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed service_health.sql
var serviceHealthSQL string

//go:embed service_health_windows.sql
var serviceHealthWindowsSQL string

// ServiceHealthConfig are the thresholds of service_health.
type ServiceHealthConfig struct {
	MinConnections int           `conf:"min_connections" help:"connections in an hour, for a service to be judged"`
	MinZ           float64       `conf:"min_z" help:"robust standard deviations above the usual of this hour, on log1p"`
	MinDelay       time.Duration `conf:"min_delay" help:"what times must grow by at least"`
	MinGrowth      float64       `conf:"min_growth" help:"how many times the usual a measure must be"`
	MinLoss        float64       `conf:"min_loss" help:"least share of lost segments, of connections with closed windows (twice) and failed ones (four times), 0 to 1"`
}

// The measures of the statement, in its order.
const (
	serverTime = iota
	clientRoundTrip
	serverRoundTrip
	clientLoss
	serverLoss
	clientWindow
	serverWindow
	failures
)

// newServiceHealth compares how services do with their own past, and says whose
// fault it is.
func newServiceHealth(own detect.Own, c ServiceHealthConfig) detect.Detector {
	return detect.New(detect.Spec[service]{
		Info: detect.Info{
			Name: "service_health", Version: 1, Title: "Service does worse than usual", Length: time.Hour, Step: time.Hour, Gap: 6 * time.Hour,
			Doc: `A TCP service answers slower, loses more segments, or fails more often than it does at this hour of the week (at least 3 of them within four weeks, else the same hour of at least 7
days of the last 14, else it is still being learnt), by median and MAD on log1p. The round trip is known in its halves, from the tap to the client and to the server, and so is the side on which
segments are lost: seen again, they were lost beyond the tap, missing at first, before it. The server is blamed when its answers take longer with the round trip taken off, for closed
windows, resets and errors; the network when the round trip or the loss of the server's side grows, or of the side of most clients; the client when only few clients have it, or for windows that
clients close. The magnitude is how many times the usual it is. Low; medium from ten times the usual for several clients: it is never more by itself.`,
			Controls: []string{
				"services with few connections, or with no past",
				"growth that nobody feels: less than twice as much, or a few milliseconds",
				"connections whose beginning was not seen, and floods that the probe added up",
			},
			Parameters: []detect.Parameter{
				{Name: "min_connections", Value: fmt.Sprint(c.MinConnections), Doc: "connections in an hour; the 95th percentile of fewer is the largest"},
				{Name: "min_z", Value: detect.Decimal(c.MinZ), Doc: "robust standard deviations"},
				{Name: "min_delay", Value: c.MinDelay.String(), Doc: "growth of times"},
				{Name: "min_growth", Value: detect.Decimal(c.MinGrowth), Doc: "times the usual"},
				{Name: "min_loss", Value: detect.Decimal(c.MinLoss), Doc: "share of segments lost"},
			},
		},
		SQL: compose(serviceHealthSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_connections", detect.Number(c.MinConnections), "min_z", detect.Decimal(c.MinZ), "min_delay", detect.Decimal(float64(c.MinDelay.Microseconds())),
				"min_loss", detect.Decimal(c.MinLoss), "units", "[1,1,1,1000,1000,1000,1000,1000]", "dst", "", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *service) detect.Verdict {
			a.EvidenceParams["dst"], a.EvidenceParams["port"], a.EvidenceParams["site"] = r.Dst, detect.Number(r.Port), r.Site
			return r.judge(a, c)
		},
		Find:       detect.Compose(serviceHealthWindowsSQL),
		FindParams: detect.Params{"min_connections": detect.Number(c.MinConnections)},
	})
}

// service is a row of the statement; the slices have the measures.
type service struct {
	Site         string    `ch:"site"`
	Dst          string    `ch:"dst"`
	Port         uint16    `ch:"port"`
	App          string    `ch:"app"`
	Level        string    `ch:"level"`
	Samples      uint64    `ch:"samples"`
	Connections  uint64    `ch:"connections"`
	Observed     []float64 `ch:"observed"`
	Expected     []float64 `ch:"expected"`
	Z            []float64 `ch:"z"`
	Clients      uint64    `ch:"clients"`
	SlowClients  uint64    `ch:"slow_clients"`
	LossyClients uint64    `ch:"lossy_clients"`
	Slowest      string    `ch:"slowest_client"`
	First        time.Time `ch:"first"`
	Last         time.Time `ch:"last"`
	FlowIDs      []string  `ch:"flow_ids"`

	ServerTime      float64 `ch:"server_time"`
	ClientRoundTrip float64 `ch:"client_round_trip"`
	ServerRoundTrip float64 `ch:"server_round_trip"`
	ClientLoss      float64 `ch:"client_loss"`
	ServerLoss      float64 `ch:"server_loss"`
	ClientWindow    float64 `ch:"client_window"`
	ServerWindow    float64 `ch:"server_window"`
	Failures        float64 `ch:"failures"`
}

// worse says whether a measure is worse than usual, enough to matter.
func (s service) worse(i int, c ServiceHealthConfig) bool {
	grown := s.Z[i] >= c.MinZ && s.Observed[i] >= c.MinGrowth*s.Expected[i]
	switch i {
	case serverTime, clientRoundTrip, serverRoundTrip:
		return grown && s.Observed[i]-s.Expected[i] >= float64(c.MinDelay.Microseconds())
	case clientWindow, serverWindow:
		return grown && s.Observed[i] >= 2*c.MinLoss
	case failures:
		return grown && s.Observed[i] >= 4*c.MinLoss
	}
	return grown && s.Observed[i] >= c.MinLoss
}

// few says whether n of the clients of a service are their own problem: at most
// a third of several, or the only one.
func (s service) few(n uint64) bool { return s.Clients == 1 || 3*n <= s.Clients }

// blame returns who is at fault, client, network or server, and why: the first
// of its reasons decides. "" if nothing is worse.
func (s service) blame(c ServiceHealthConfig) (who string, measures []int, reasons []string) {
	times := func(i int, what string) string {
		return fmt.Sprintf("%s %.1f ms, usual %.1f ms (95th percentile, z %.1f)", what, s.Observed[i]/1000, s.Expected[i]/1000, s.Z[i])
	}
	shares := func(i int, what string) string {
		return fmt.Sprintf("%s %.1f %%, usual %.1f %% (z %.1f)", what, 100*s.Observed[i], 100*s.Expected[i], s.Z[i])
	}
	one := func(few bool) string {
		if few {
			return "client"
		}
		return "network"
	}
	for _, m := range []struct {
		i    int
		who  string
		text string
	}{
		{serverRoundTrip, "network", times(serverRoundTrip, "round trip from the tap to the server:")},
		{clientRoundTrip, one(s.few(s.SlowClients)), times(clientRoundTrip, fmt.Sprintf("round trip from the tap to clients, %d of %d slow, most %s:", s.SlowClients, s.Clients, s.Slowest))},
		{serverLoss, "network", shares(serverLoss, "segments lost between tap and server:")},
		{clientLoss, one(s.few(s.LossyClients)), shares(clientLoss, fmt.Sprintf("segments lost between tap and clients, %d of %d concerned:", s.LossyClients, s.Clients))},
		{serverTime, "server", times(serverTime, "time of the server, round trip taken off:")},
		{serverWindow, "server", shares(serverWindow, "connections in which the server closed its window:")},
		{failures, "server", shares(failures, "connections refused, reset or with errors of the server:")},
		{clientWindow, "client", shares(clientWindow, "connections in which the client closed its window:")},
	} {
		if !s.worse(m.i, c) {
			continue
		}
		// what is worst by z decides; loss makes answers late, too, so it goes
		// before the time of the server
		if who == "" {
			who = m.who
		}
		measures, reasons = append(measures, m.i), append(reasons, m.text)
	}
	return who, measures, reasons
}

// judge compares and blames.
func (s service) judge(a *alert.Alert, c ServiceHealthConfig) detect.Verdict {
	if s.Level == "learning" {
		return detect.Learning
	}
	who, measures, reasons := s.blame(c)
	if who == "" {
		return detect.Quiet
	}
	growth := 0.0
	for _, i := range measures {
		floor := 1000.0 // µs: what was nothing is not grown a thousand times
		if i > serverRoundTrip {
			floor = 0.01
		}
		growth = max(growth, s.Observed[i]/max(s.Expected[i], floor))
	}
	name := fmt.Sprintf("%s port %d", s.Dst, s.Port)
	if s.App != "" {
		name += " (" + s.App + ")"
	}
	a.Title = fmt.Sprintf("%s does worse than usual: the %s is at fault", name, who)
	a.Victim, a.Entities = s.Dst, detect.Entities("service", s.Dst+" "+detect.Service(6, s.Port), "site", s.Site)
	if who == "client" {
		a.Actor = s.Slowest
	}
	a.Start, a.End, a.FlowIDs, a.Magnitude = s.First, s.Last, s.FlowIDs, growth
	a.SubScores = map[string]float64{"server_time": s.ServerTime, "client_round_trip": s.ClientRoundTrip, "server_round_trip": s.ServerRoundTrip, "client_loss": s.ClientLoss,
		"server_loss": s.ServerLoss, "client_window": s.ClientWindow, "server_window": s.ServerWindow, "failures": s.Failures}
	for _, i := range measures {
		a.Score = max(a.Score, detect.Bounded(s.Z[i]/20))
	}
	a.Severity, a.Confidence = alert.Low, 0.7
	if growth >= 10 && s.Clients >= 3 && who != "client" {
		a.Severity = alert.Medium
	}
	if s.Level == "hour of day" {
		a.Confidence = 0.6
	}
	a.Reasons = append([]string{"blamed: " + who}, reasons...)
	a.Reasons = append(a.Reasons, fmt.Sprintf("%d connections of %d clients in this hour, compared with %d times the same %s; %.0f times the usual, medium from ten for several clients", s.Connections, s.Clients, s.Samples, s.Level, growth))
	a.Unless = []string{fmt.Sprintf("less than %g times the usual, z below %g, times grown by less than %v, loss below %g %%", c.MinGrowth, c.MinZ, c.MinDelay, 100*c.MinLoss),
		fmt.Sprintf("fewer than %d connections in the hour", c.MinConnections)}
	text, _ := json.Marshal(map[string]any{"of": strings.Join([]string{"time of the server", "round trip to clients", "round trip to the server (µs)", "loss at clients", "loss at the server",
		"closed windows of clients", "closed windows of the server", "failures (shares)"}, ", "), "level": s.Level, "samples": s.Samples, "expected": s.Expected, "observed": s.Observed}) // cannot fail
	a.Baseline = string(text)
	return detect.Raise
}

package channel

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed tunnelled.sql
var tunnelledSQL string

//go:embed tunnelled_windows.sql
var tunnelledWindowsSQL string

// TunnelledConfig are the thresholds of tunnelled.
type TunnelledConfig struct {
	MaxClients int `conf:"max_clients" help:"inside hosts in 10 minutes that do the same, above which it is a service of the place"`
}

// newTunnelled looks for traffic under a false name.
func newTunnelled(own detect.Own, c TunnelledConfig) detect.Detector {
	return detect.New(detect.Spec[hidden]{
		Info: detect.Info{
			Name: "tunnelled", Version: 2, Title: "Unknown or disguised protocol", Techniques: []string{"T1571", "T1572", "T1095"},
			Length: 10 * time.Minute, Step: 10 * time.Minute,
			Doc: `Connections to outside that were answered and had 16 packets: of another protocol than TLS on TCP port 443 (not_tls), of a known protocol on a port that is not its own (odd_port, as
the probe flags it), or of none that the probe knows (unknown). Equals are one cluster and one incident: kind, application and port. The score: 0.4 oddity (1, 0.7, 0.5 by kind), 0.4 rarity (1 by the root of the
number of clients), 0.2 volume (logarithm of the octets, 1 at 10 MB). Medium for a known protocol of up to three clients on port 443, low for one on an odd port, info for the rest. The magnitude is the number of octets.`,
			Controls: []string{
				"What stays inside, BitTorrent, media, multicast and exempt sources are left out.",
				"More than max_clients clients of the same kind, application and port are a service of the place.",
			},
			Parameters: []detect.Parameter{{Name: "max_clients", Value: fmt.Sprint(c.MaxClients), Doc: "hosts in 10 minutes"}},
		},
		SQL: detect.Compose(tunnelledSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("max_clients", detect.Number(c.MaxClients), "kind", "", "application", "", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *hidden) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["kind"], a.EvidenceParams["application"] = r.Kind, r.Application
			a.EvidenceParams["port"], a.EvidenceParams["site"] = detect.Number(r.Port), r.Site
			return detect.Raise
		},
		Find: detect.Compose(tunnelledWindowsSQL),
	})
}

// hidden is a row of the statement.
type hidden struct {
	Site        string    `ch:"site"`
	Kind        string    `ch:"kind"`
	Application string    `ch:"application"`
	Port        uint16    `ch:"port"`
	Protocol    uint8     `ch:"protocol"`
	Clients     uint64    `ch:"clients"`
	Servers     uint64    `ch:"servers"`
	Connections uint64    `ch:"connections"`
	Octets      uint64    `ch:"octets"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	TopClient   string    `ch:"top_client"`
	TopServer   string    `ch:"top_server"`
	FlowIDs     []string  `ch:"flow_ids"`
	Rarity      float64   `ch:"rarity"`
	Oddity      float64   `ch:"oddity"`
	Volume      float64   `ch:"volume"`
}

// judge writes what was found.
func (r *hidden) judge(a *alert.Alert, c TunnelledConfig) {
	service := detect.Service(r.Protocol, r.Port)
	a.Actor, a.Victim, a.Entities = r.TopClient, r.TopServer, detect.Entities("kind", r.Kind, "application", r.Application, "port", service, "site", r.Site)
	what := map[string]string{"not_tls": "%s on the port of TLS, %s", "odd_port": "%s on a port that is not its own, %s", "unknown": "protocol %s on %s"}[r.Kind]
	a.Title = fmt.Sprintf(what, r.Application, service)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Octets)
	a.SubScores = map[string]float64{"rarity": r.Rarity, "oddity": r.Oddity, "volume": r.Volume}
	a.Score, a.Confidence = detect.Bounded(0.4*r.Oddity+0.4*r.Rarity+0.2*r.Volume), 0.5
	a.Reasons = []string{
		fmt.Sprintf("%d connections of %d clients to %d hosts outside, %s; most by %s to %s", r.Connections, r.Clients, r.Servers, detect.Size(float64(r.Octets)), r.TopClient, r.TopServer),
		fmt.Sprintf("up to %d clients are rare", c.MaxClients),
	}
	switch {
	case r.Kind == "not_tls" && r.Application != "unknown" && r.Clients <= 3:
		a.Severity = alert.Medium
	case r.Kind != "unknown":
		a.Severity = alert.Low
	default:
		a.Severity = alert.Info
	}
	a.Unless = []string{fmt.Sprintf("more than %d clients of the same kind", c.MaxClients), "a protocol that the probe recognises on a port of its own"}
}

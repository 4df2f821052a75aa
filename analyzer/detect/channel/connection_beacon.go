package channel

import (
	"cmp"
	_ "embed"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed connection_beacon.sql
var connectionBeaconSQL string

//go:embed connection_beacon_windows.sql
var connectionBeaconWindowsSQL string

// ConnectionBeaconConfig are the thresholds of connection_beacon.
type ConnectionBeaconConfig struct {
	MaxSpread  float64 `conf:"max_spread" help:"greatest standard deviation of the packets in a minute, as a share of their mean; of the octets twice that"`
	MaxRate    float64 `conf:"max_rate" help:"greatest payload of both directions, octets a second"`
	MaxClients int     `conf:"max_clients" help:"clients of the destination that have such connections, above which it is a service"`
}

// newConnectionBeacon looks for check-ins inside of one connection.
func newConnectionBeacon(own detect.Own, c ConnectionBeaconConfig) detect.Detector {
	return detect.New(detect.Spec[keptOpen]{
		Info: detect.Info{
			Name: "connection_beacon", Version: 1, Title: "Beacon inside of a connection", Techniques: []string{"T1071", "T1571"},
			Length: 5 * time.Minute, Step: 5 * time.Minute,
			Doc: `A connection of an unknown protocol or plain HTTP is kept open, and in at least three of its records (of a minute, 20 s at least) passes little and always as much: an agent that asks for orders.
The window is judged with the ten minutes before it. The score is a product: evenness of the packets in a minute, likeness of the octets, rarity (1 by the root of the clients that do so), reach
(0.7 when the destination is in another inside network). Medium for an unknown protocol to outside, else low. The magnitude is the number of packets.`,
			Controls: []string{
				"TLS, SSH, VPN, push, mail and other known applications are left out, and login ports.",
				"More than max_clients clients of one destination are a service; what stays in one inside network, exempt sources and multicast are left out.",
			},
			Parameters: []detect.Parameter{
				{Name: "max_spread", Value: detect.Decimal(c.MaxSpread), Doc: "0 for a clock; records are not cut at its ticks"},
				{Name: "max_rate", Value: detect.Decimal(c.MaxRate), Doc: "octets a second: more is a transfer"},
				{Name: "max_clients", Value: fmt.Sprint(c.MaxClients), Doc: "clients in 15 minutes"},
			},
		},
		SQL: detect.Compose(connectionBeaconSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("max_spread", detect.Decimal(c.MaxSpread), "max_rate", detect.Decimal(c.MaxRate), "max_clients", detect.Number(c.MaxClients),
				"logins", loginPorts, "src", "", "dst", "", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *keptOpen) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["dst"] = r.Src, r.Dst
			a.EvidenceParams["port"], a.EvidenceParams["site"] = detect.Number(r.Port), r.Site
			return detect.Raise
		},
		Find:       detect.Compose(connectionBeaconWindowsSQL),
		FindParams: detect.Params{"logins": loginPorts},
	})
}

// keptOpen is a row of the statement.
type keptOpen struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Dst         string    `ch:"dst"`
	Port        uint16    `ch:"port"`
	Protocol    uint8     `ch:"protocol"`
	Application string    `ch:"application"`
	Crossing    string    `ch:"crossing"`
	FlowIDs     []string  `ch:"flow_ids"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	Pieces      uint64    `ch:"pieces"`
	Packets     uint64    `ch:"packets"`
	Octets      uint64    `ch:"octets"`
	Gap         float64   `ch:"gap"`
	Clients     uint64    `ch:"clients"`
	Evenness    float64   `ch:"evenness"`
	Likeness    float64   `ch:"likeness"`
	Rarity      float64   `ch:"rarity"`
	Reach       float64   `ch:"reach"`
}

// judge writes what was found.
func (r *keptOpen) judge(a *alert.Alert, c ConnectionBeaconConfig) {
	a.Actor, a.Victim, a.Entities = r.Src, r.Dst, detect.Entities("actor", r.Src, "victim", r.Dst, "port", detect.Service(r.Protocol, r.Port), "site", r.Site)
	a.Title = fmt.Sprintf("%s checks in with %s over one connection", r.Src, r.Dst)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Packets)
	a.SubScores = map[string]float64{"evenness": r.Evenness, "likeness": r.Likeness, "rarity": r.Rarity, "reach": r.Reach}
	a.Score, a.Confidence = detect.Bounded(r.Evenness*r.Likeness*r.Rarity*r.Reach), 0.6
	a.Reasons = []string{
		fmt.Sprintf("%d records of one connection to %s with as many packets a second each, %d in all, %s", r.Pieces, detect.Service(r.Protocol, r.Port), r.Packets, detect.Size(float64(r.Octets))),
		fmt.Sprintf("a packet every %.1f s from the client; application %s; %s", r.Gap, cmp.Or(r.Application, "unknown"), r.Crossing),
		fmt.Sprintf("%d clients have such a connection to it, up to %d is rare", r.Clients, c.MaxClients),
	}
	a.Severity = alert.Low
	if r.Application != "http" && r.Crossing == "to outside" {
		a.Severity = alert.Medium
	}
	a.Unless = []string{fmt.Sprintf("packets a minute that vary by more than %.0f %%, or %.0f octets a second", 100*c.MaxSpread, c.MaxRate), "a known application, or many clients of the destination"}
}

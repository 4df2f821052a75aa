package flood

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed packet_flood.sql
var packetFloodSQL string

//go:embed packet_flood_windows.sql
var packetFloodWindowsSQL string

// PacketFloodConfig are the thresholds of packet_flood.
type PacketFloodConfig struct {
	MinRate        float64 `conf:"min_rate" help:"packets of one kind a second, in one direction only: TCP other than SYN, ICMP"`
	MinUDPRate     float64 `conf:"min_udp_rate" help:"the same of UDP and other protocols"`
	MaxPackets     float64 `conf:"max_packets" help:"packets a record, at most, of TCP: more are connections of which one direction is seen"`
	Crowd          int     `conf:"crowd" help:"sources of traffic in both directions above a ceiling; fewer are a large transfer"`
	CeilingPackets float64 `conf:"ceiling_packets" help:"packets a second to one host that are always too many"`
	CeilingBits    float64 `conf:"ceiling_bits" help:"bits a second to one host that are always too many"`
	CeilingFlows   float64 `conf:"ceiling_flows" help:"connections a second to one host that are always too many"`
}

// newPacketFlood looks for hosts that get more packets than they can want.
func newPacketFlood(own detect.Own, c PacketFloodConfig, ports []int) detect.Detector {
	thresholds := detect.Params{"min_rate": detect.Decimal(c.MinRate), "min_udp_rate": detect.Decimal(c.MinUDPRate), "ceiling_packets": detect.Decimal(c.CeilingPackets),
		"ceiling_bits": detect.Decimal(c.CeilingBits), "ceiling_flows": detect.Decimal(c.CeilingFlows), "ports": portList(ports)}
	return detect.New(detect.Spec[packets]{
		Info: detect.Info{
			Name: "packet_flood", Version: 1, Title: "Flood of packets", Techniques: []string{"T1498.001"},
			Length: time.Minute, Step: time.Minute, Gap: time.Hour,
			Doc: `A host gets far more packets of one kind than it does otherwise, and nothing, or resets only, goes back: TCP acknowledgements, resets, SYN-ACKs (a reflected
SYN flood), odd flags, UDP, ICMP, other protocols. Counted are packets in bins of 10 s, those of long flows spread over their duration. The threshold is the greater of a fixed rate and
median + 6 · 1.4826 · MAD of sixty bins of the hour before; it has to be reached in two bins of a minute, or five times over in one. Any traffic above a ceiling (packets, bits or
connections a second) counts as well: as low when both directions take part and there are many sources. The magnitude is the packets of the minute. Medium; high from ten
times the threshold or a ceiling; critical from ten times a ceiling.`,
			Controls: []string{
				"flash crowds, content networks, speed tests and backups: traffic goes both ways; above a ceiling it is low from many sources, and nothing from few",
				"networks with the role backup",
				"taps that see one direction of TCP: their records have many packets, or payload",
				"collectors of logs and flows, media: they get as much all the hour",
				"tunnels (GRE, ESP, AH) and multicast",
			},
			Parameters: []detect.Parameter{
				{Name: "min_rate", Value: detect.Decimal(c.MinRate), Doc: "packets a second, TCP and ICMP; ntopng has 250 ICMP packets a second"},
				{Name: "min_udp_rate", Value: detect.Decimal(c.MinUDPRate), Doc: "packets a second, UDP and others; a video stream in one direction has some hundreds"},
				{Name: "max_packets", Value: detect.Decimal(c.MaxPackets), Doc: "packets a record of TCP floods"},
				{Name: "crowd", Value: fmt.Sprint(c.Crowd), Doc: "sources of traffic in both directions that is low above a ceiling"},
				{Name: "ceiling_packets", Value: detect.Decimal(c.CeilingPackets), Doc: "packets a second, as FastNetMon"},
				{Name: "ceiling_bits", Value: detect.Decimal(c.CeilingBits), Doc: "bits a second, as FastNetMon"},
				{Name: "ceiling_flows", Value: detect.Decimal(c.CeilingFlows), Doc: "connections a second, as FastNetMon"},
			},
		},
		SQL: compose(packetFloodSQL),
		Params: func(w detect.Window) detect.Params {
			p := own.Params().Unix(w).With("crowd", detect.Number(c.Crowd), "max_packets", detect.Decimal(c.MaxPackets), "dst", "", "kind", "", "site", "")
			for name, value := range thresholds {
				p[name] = value
			}
			return p
		},
		Judge: func(a *alert.Alert, r *packets) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["dst"], a.EvidenceParams["kind"], a.EvidenceParams["site"] = r.Dst, r.Kind, r.Site
			return detect.Raise
		},
		Find:       compose(packetFloodWindowsSQL),
		FindParams: thresholds,
	})
}

// packets is a row of the statement; rates are per second.
type packets struct {
	Site          string    `ch:"site"`
	Dst           string    `ch:"dst"`
	Kind          string    `ch:"kind"`
	PeakRate      float64   `ch:"peak_rate"`
	PeakBits      float64   `ch:"peak_bits"`
	PeakFlows     float64   `ch:"peak_flow_rate"`
	BaseRate      float64   `ch:"base_rate"`
	MADRate       float64   `ch:"mad_rate"`
	ThresholdRate float64   `ch:"threshold_rate"`
	BinsOver      uint32    `ch:"bins_over"`
	Packets       float64   `ch:"packets_sum"`
	AboveCeiling  bool      `ch:"above_ceiling"`
	Sources       uint64    `ch:"sources"`
	TopSource     string    `ch:"top_source"`
	TopShare      float64   `ch:"top_share"`
	TopPort       uint16    `ch:"top_port"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Rate          float64   `ch:"rate"`
	Ceiling       float64   `ch:"ceiling"`
	Spread        float64   `ch:"spread"`
}

// judge scores a flood.
func (c packets) judge(a *alert.Alert, limits PacketFloodConfig) {
	name := map[string]string{"all": "traffic", "icmp": "ICMP", "udp": "UDP", "ip": "IP", "syn_ack": "SYN-ACK", "rst": "RST", "ack": "ACK", "flags": "odd TCP"}[c.Kind]
	a.Victim, a.Entities = c.Dst, detect.Entities("victim", c.Dst, "kind", c.Kind, "site", c.Site)
	from := fmt.Sprintf("%d sources", c.Sources)
	if c.TopShare >= 0.9 {
		from, a.Actor = c.TopSource, c.TopSource
		a.Techniques = []string{"T1499"}
	}
	if c.Kind == "syn_ack" {
		a.Techniques = []string{"T1498.002"}
	}
	a.Title = fmt.Sprintf("%s flood of %s from %s: %.0f packets and %s a second", name, c.Dst, from, c.PeakRate, bits(c.PeakBits))
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, c.Packets
	a.SubScores = map[string]float64{"rate": c.Rate, "ceiling": c.Ceiling, "spread": c.Spread}
	a.Score = detect.Bounded(0.5*c.Rate + 0.3*c.Ceiling + 0.2*c.Spread)
	a.Confidence = 0.8
	above := max(c.PeakRate/limits.CeilingPackets, c.PeakBits/limits.CeilingBits, c.PeakFlows/limits.CeilingFlows)
	switch {
	case c.Kind == "all":
		a.Severity, a.Confidence = alert.Low, 0.5
	case above >= 10:
		a.Severity = alert.Critical
	case above >= 1 || c.PeakRate >= 10*c.ThresholdRate:
		a.Severity = alert.High
	default:
		a.Severity = alert.Medium
	}
	a.Reasons = []string{
		fmt.Sprintf("%.0f packets a second at the peak, the threshold is %.0f, reached in %d bins of 10 s of this minute", c.PeakRate, c.ThresholdRate, c.BinsOver),
		fmt.Sprintf("%s and %.0f connections a second; ceilings are %.0f packets, %s, %.0f connections", bits(c.PeakBits), c.PeakFlows, limits.CeilingPackets, bits(limits.CeilingBits), limits.CeilingFlows),
		fmt.Sprintf("%s, the busiest has %.0f %%; most go to port %d", from, 100*c.TopShare, c.TopPort),
	}
	if c.Kind == "all" {
		a.Reasons = append(a.Reasons, "the traffic goes both ways: perhaps a crowd that is welcome")
		a.Unless = append(a.Unless, fmt.Sprintf("fewer than %d sources", limits.Crowd))
	} else {
		a.Reasons = append(a.Reasons, "nothing went back, or resets only")
		a.Unless = append(a.Unless, "answers to these packets", fmt.Sprintf("fewer than %.0f a second, or only in one bin of 10 s and less than five times as many", c.ThresholdRate))
	}
	baseline, _ := json.Marshal(map[string]any{"of": "packets of the kind a second, the first 10 s of each minute of the hour before", "median": c.BaseRate, "mad": c.MADRate,
		"threshold": c.ThresholdRate, "observed": c.PeakRate}) // of numbers and text only: cannot fail
	a.Baseline = string(baseline)
}

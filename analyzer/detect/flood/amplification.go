package flood

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed amplification.sql
var amplificationSQL string

//go:embed amplification_windows.sql
var amplificationWindowsSQL string

// AmplificationConfig are the thresholds of amplification.
type AmplificationConfig struct {
	MinRate         float64 `conf:"min_rate" help:"unasked answers a second to one host, over 10 s, packets"`
	MinBytes        float64 `conf:"min_bytes" help:"mean size of them, IP octets"`
	MinReflectors   int     `conf:"min_reflectors" help:"hosts that send them"`
	SmallRate       float64 `conf:"small_rate" help:"answers a second that are too many whatever their size, or from fewer hosts"`
	SmallReflectors int     `conf:"small_reflectors" help:"hosts that send them, where they are small"`
	Ports           []int   `conf:"ports" help:"UDP ports of services that are used to amplify"`
}

// amplifiers are UDP services with known amplification, by port.
func amplifiers() map[int]string {
	return map[int]string{
		0: "fragments", 17: "QOTD", 19: "CHARGEN", 53: "DNS", 69: "TFTP", 111: "portmap", 123: "NTP", 137: "NetBIOS", 161: "SNMP", 177: "XDMCP", 389: "CLDAP",
		427: "SLP", 500: "ISAKMP", 520: "RIP", 523: "DB2", 623: "IPMI", 626: "serial number service", 1434: "MS SQL", 1604: "Citrix", 1645: "RADIUS", 1719: "H.323", 1900: "SSDP",
		2302: "game server", 3283: "Apple remote desktop", 3389: "RDP", 3659: "game server", 3702: "WS-Discovery", 5060: "SIP", 5093: "Sentinel", 5351: "NAT-PMP", 5353: "mDNS", 5683: "CoAP",
		6881: "BitTorrent", 6889: "BitTorrent", 7001: "AFS", 8000: "camera", 10001: "Ubiquiti", 10074: "TP-240", 11211: "memcached", 17185: "VxWorks", 20800: "game server", 26000: "game server",
		27005: "game server", 27015: "game server", 27960: "game server", 30120: "game server", 30718: "Lantronix", 32410: "Plex", 32414: "Plex", 33848: "Jenkins", 37020: "camera", 37810: "DVR",
		41794: "Crestron", 47808: "BACnet",
	}
}

// amplifierPorts are the ports of amplifiers, without 0.
func amplifierPorts() []int {
	var list []int
	for p := range amplifiers() {
		if p != 0 {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// newAmplification looks for hosts that get answers nobody asked for.
func newAmplification(own detect.Own, c AmplificationConfig) detect.Detector {
	list := portList(c.Ports)
	return detect.New(detect.Spec[reflection]{
		Info: detect.Info{
			Name: "amplification", Version: 1, Title: "Reflected and amplified flood", Techniques: []string{"T1498.002"},
			Length: time.Minute, Step: 10 * time.Second, Gap: time.Hour,
			Doc: `A host gets answers over UDP from services that are known to amplify, and never asked: records of one direction only, from their ports, and
IP fragments without ports from hosts that it did not ask. Counted are packets in bins of 10 s, those of long flows spread over their duration, and each window is judged by its last 10 s (those of whole minutes by all). Large answers from several
hosts are enough at a low rate; small answers, or those of few hosts, only at a high one. All services together are one incident of the victim. The magnitude is the IP octets in the bins
above the rate. Medium; high from 1000 packets or 10 Mbit a second; critical from 20 000 packets or 1 Gbit a second.`,
			Controls: []string{
				"answers that were asked for: their records have both directions",
				"fragments of large answers that were asked for: the host asks their sender in the same minute",
				"taps that see only the answers of a busy resolver: most DNS answers are smaller than 400 octets",
				"multicast",
			},
			Parameters: []detect.Parameter{
				{Name: "min_rate", Value: detect.Decimal(c.MinRate), Doc: "answers a second; captures of such floods, cut down to what one host got, have 30 and more"},
				{Name: "min_bytes", Value: detect.Decimal(c.MinBytes), Doc: "mean IP octets of an answer"},
				{Name: "min_reflectors", Value: fmt.Sprint(c.MinReflectors), Doc: "hosts that answer"},
				{Name: "small_rate", Value: detect.Decimal(c.SmallRate), Doc: "answers a second that are enough from fewer hosts, or if small"},
				{Name: "small_reflectors", Value: fmt.Sprint(c.SmallReflectors), Doc: "hosts that answer, if small"},
				{Name: "ports", Value: fmt.Sprintf("%d ports", len(c.Ports)), Doc: "of CISA's alert TA14-017A and what was published since"},
			},
		},
		SQL: compose(amplificationSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_rate", detect.Decimal(c.MinRate), "min_bytes", detect.Decimal(c.MinBytes), "min_reflectors", detect.Number(c.MinReflectors),
				"small_rate", detect.Decimal(c.SmallRate), "small_reflectors", detect.Number(c.SmallReflectors), "ports", list, "dst", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *reflection) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["dst"], a.EvidenceParams["site"] = r.Dst, r.Site
			return detect.Raise
		},
		Find:       compose(amplificationWindowsSQL),
		FindParams: detect.Params{"min_rate": detect.Decimal(c.MinRate), "ports": list},
	})
}

// portList writes ports as ClickHouse reads an Array(UInt16).
func portList(list []int) string {
	text := make([]string, len(list))
	for i, p := range list {
		text[i] = fmt.Sprint(p)
	}
	return "[" + strings.Join(text, ",") + "]"
}

// reflection is a row of the statement; rates are per second.
type reflection struct {
	Site       string    `ch:"site"`
	Dst        string    `ch:"dst"`
	PeakRate   float64   `ch:"peak_rate"`
	PeakBits   float64   `ch:"peak_bits"`
	Packets    float64   `ch:"packets_sum"`
	Octets     float64   `ch:"octets_sum"`
	BinsOver   uint64    `ch:"bins_over"`
	Reflectors uint64    `ch:"reflectors"`
	MeanBytes  float64   `ch:"mean_bytes"`
	Services   []uint16  `ch:"services"`
	First      time.Time `ch:"first"`
	Last       time.Time `ch:"last"`
	FlowIDs    []string  `ch:"flow_ids"`
	Rate       float64   `ch:"rate"`
	Size       float64   `ch:"size"`
	Spread     float64   `ch:"spread"`
}

// judge scores a reflection.
func (c reflection) judge(a *alert.Alert, limits AmplificationConfig) {
	names := amplifiers()
	var services []string
	for _, p := range c.Services {
		name := names[int(p)]
		if name == "" {
			name = "UDP"
		}
		if p != 0 {
			name = fmt.Sprintf("%s (%d)", name, p)
		}
		services = append(services, name)
	}
	by := strings.Join(services, ", ")
	a.Victim, a.Entities = c.Dst, detect.Entities("victim", c.Dst, "site", c.Site)
	a.Title = fmt.Sprintf("%s gets %.0f unasked answers a second from %d hosts: %s", c.Dst, c.PeakRate, c.Reflectors, by)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, c.Octets
	a.SubScores = map[string]float64{"rate": c.Rate, "size": c.Size, "spread": c.Spread}
	a.Score = detect.Bounded(0.5*c.Rate + 0.3*c.Size + 0.2*c.Spread)
	a.Confidence = 0.9
	switch {
	case c.PeakRate >= ceilingPackets || c.PeakBits >= ceilingBits:
		a.Severity = alert.Critical
	case c.PeakRate >= 1000 || c.PeakBits >= 10e6:
		a.Severity = alert.High
	default:
		a.Severity = alert.Medium
	}
	a.Reasons = []string{
		fmt.Sprintf("%.0f packets and %s a second at the peak, %.0f are enough (high from 1000 packets or 10 Mbit, critical from %d packets or 1 Gbit)", c.PeakRate, bits(c.PeakBits), limits.MinRate, ceilingPackets),
		fmt.Sprintf("%s in %.0f packets of %.0f octets on average, over %.0f count as large", detect.Size(c.Octets), c.Packets, c.MeanBytes, limits.MinBytes),
		fmt.Sprintf("%d hosts answer, none of which was asked: %s", c.Reflectors, by),
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %.0f unasked answers a second in every 10 s", limits.MinRate),
		fmt.Sprintf("answers of at most %.0f octets or from fewer than %d hosts, below %.0f a second", limits.MinBytes, limits.MinReflectors, limits.SmallRate),
		"questions of the host in the same records",
	}
}

// bits writes bits for people.
func bits(n float64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f Gbit", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f Mbit", n/1e6)
	}
	return fmt.Sprintf("%.0f kbit", n/1e3)
}

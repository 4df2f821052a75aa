// Package argus makes flow records of Argus flows as CSV ("binetflow", as ra -c,
// writes them and CTU publishes them). In come lines under a header that names
// the columns, out goes a flow record for each. An argus flow is bidirectional
// already; the direction is Argus's, and marked as guessed where Argus was not
// sure. An Importer belongs to one goroutine; records are valid until the callback returns.
package argus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Origin marks the records of this package.
const Origin = "argus"

// Emit takes a record; its error ends the import.
type Emit func(*flow.Record) error

// Importer reads logs.
type Importer struct {
	Tally source.Tally
	Lost  func(reason string, at int64) // may be nil
	rec   flow.Record
}

// File reads a log. What cannot be read is counted; the error is emit's or that of ctx.
func (im *Importer) File(ctx context.Context, name string, r io.Reader, emit Emit) error {
	lines := source.NewLines(r)
	var column map[string]int
	var id uint64
	skip := func(reason string, at int64, cause error) {
		im.Tally.Skip(reason, name, lines.Number(), 1, cause)
		if im.Lost != nil {
			im.Lost(reason, at)
		}
	}
	for {
		line, ok := lines.Next()
		if !ok {
			break
		}
		if lines.Number()%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		cells := strings.Split(string(line), ",")
		switch {
		case len(line) == 0:
			continue
		case strings.HasPrefix(cells[0], "StartTime"):
			column = make(map[string]int)
			for i, c := range cells {
				column[strings.TrimSpace(c)] = i
			}
			continue
		}
		im.Tally.Read++
		switch {
		case lines.TooLong():
			skip(source.SkipLong, 0, nil)
			continue
		case column == nil:
			skip(source.SkipHeader, 0, errors.New("no line StartTime,Dur,Proto,… before it"))
			continue
		}
		reason, err := convert(&im.rec, func(name string) string {
			if i, ok := column[name]; ok && i < len(cells) {
				return strings.TrimSpace(cells[i])
			}
			return ""
		})
		if err != nil {
			skip(reason, im.rec.Start, err)
			continue
		}
		id++
		im.rec.FlowID = id
		im.Tally.Converted++
		im.Tally.Records++
		if err := emit(&im.rec); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		im.Tally.Read++
		skip(source.SkipDamaged, 0, err)
	}
	return nil
}

var protocols = map[string]uint8{"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58, "sctp": 132, "gre": 47, "esp": 50, "igmp": 2, "rtp": 17, "rtcp": 17, "udt": 17}

// convert fills r from a line.
func convert(r *flow.Record, get func(string) string) (reason string, err error) {
	r.Reset()
	start, err := time.Parse("2006/01/02 15:04:05.999999", get("StartTime"))
	if err != nil {
		seconds, ok := source.Decimal(get("StartTime"))
		if !ok {
			return source.SkipTime, fmt.Errorf("StartTime %q", get("StartTime"))
		}
		start = time.Unix(0, seconds)
	}
	duration, _ := source.Decimal(get("Dur"))
	r.Start = start.UnixNano()
	r.End = r.Start + max(duration, 0)
	if !source.Storable(r.Start, r.End) {
		r.Start = 0
		return source.SkipTime, fmt.Errorf("StartTime %q, Dur %q", get("StartTime"), get("Dur"))
	}
	proto := strings.ToLower(get("Proto"))
	r.Origin, r.Protocol = Origin, protocols[proto]
	if proto == "arp" {
		r.EtherType = 0x0806
	}
	var ok bool
	if r.SrcIP, ok = source.Address(get("SrcAddr")); !ok {
		return source.SkipAddress, fmt.Errorf("SrcAddr %q is no address", get("SrcAddr"))
	}
	if r.DstIP, ok = source.Address(get("DstAddr")); !ok {
		return source.SkipAddress, fmt.Errorf("DstAddr %q is no address", get("DstAddr"))
	}
	r.SrcPort, r.DstPort = port(get("Sport")), port(get("Dport"))
	packets, bytes := count(get("TotPkts")), count(get("TotBytes"))
	r.SrcPackets, r.SrcBytes = count(get("SrcPkts")), count(get("SrcBytes"))
	if get("SrcPkts") == "" && get("DstPkts") == "" {
		// Older files tell the octets of a side, and the packets of both: shared out, at least one a side that spoke.
		r.SrcPackets = packets
		if bytes > r.SrcBytes && packets > 1 {
			r.SrcPackets = min(max(packets*r.SrcBytes/max(bytes, 1), 1), packets-1)
		}
	}
	r.DstPackets, r.DstBytes = packets-min(packets, r.SrcPackets), bytes-min(bytes, r.SrcBytes)
	if d := get("DstPkts"); d != "" {
		r.DstPackets = count(d)
	}
	if d := get("DstBytes"); d != "" {
		r.DstBytes = count(d)
	}
	// Argus counts frames; without Ethernet's header they are IP octets.
	r.SrcFrameBytes, r.DstFrameBytes = r.SrcBytes, r.DstBytes
	r.SrcBytes, r.DstBytes = r.SrcBytes-min(r.SrcBytes, 14*r.SrcPackets), r.DstBytes-min(r.DstBytes, 14*r.DstPackets)
	r.SrcDSCP, r.DstDSCP = uint8(count(get("sTos")))>>2, uint8(count(get("dTos")))>>2
	flags(r, get("State"))
	r.InitiatorGuessed = strings.Contains(get("Dir"), "?") || strings.Contains(get("Dir"), "<")
	if get("Dir") == "<-" {
		turn(r)
	}
	r.SrcPayloadBytes, r.DstPayloadBytes = source.Payload(r, r.SrcPackets, r.SrcBytes, r.SrcTCPFlags), source.Payload(r, r.DstPackets, r.DstBytes, r.DstTCPFlags)
	r.ConnState = source.ConnState(r)
	return "", nil
}

func count(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f < 0 || f > 1<<53 {
			return 0
		}
		return uint64(f)
	}
	return n
}

// port reads a port, or an ICMP type or code, decimal or hexadecimal.
func port(s string) uint16 {
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// flags reads "FSPA_FSRPA", the TCP flags of both directions.
func flags(r *flow.Record, state string) {
	if r.Protocol != 6 {
		return
	}
	src, dst, _ := strings.Cut(state, "_")
	for s, to := range map[string]*uint8{src + ">": &r.SrcTCPFlags, dst + "<": &r.DstTCPFlags} {
		for _, c := range s {
			*to |= map[rune]uint8{'F': 1, 'S': 2, 'R': 4, 'P': 8, 'A': 16, 'U': 32, 'E': 64, 'C': 128}[c]
		}
	}
}

func turn(r *flow.Record) {
	r.SrcIP, r.DstIP, r.SrcPort, r.DstPort = r.DstIP, r.SrcIP, r.DstPort, r.SrcPort
	r.SrcPackets, r.DstPackets, r.SrcBytes, r.DstBytes = r.DstPackets, r.SrcPackets, r.DstBytes, r.SrcBytes
	r.SrcFrameBytes, r.DstFrameBytes, r.SrcTCPFlags, r.DstTCPFlags = r.DstFrameBytes, r.SrcFrameBytes, r.DstTCPFlags, r.SrcTCPFlags
	r.SrcDSCP, r.DstDSCP = r.DstDSCP, r.SrcDSCP
}

// Package eve makes flow records of Suricata's EVE JSON. In come its lines, out
// go flow records: one for each event of type flow, or several segments of one
// where a flow has more transactions than a list holds. What the events dns,
// http, tls, ssh, smb, krb5, quic and others say of a flow is joined to it by flow_id,
// and an alert leaves its risk. Events without a flow event, because flow
// logging was off or the file ends before, become records without counters. An Importer belongs to one
// goroutine; records are valid until the callback returns.
package eve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Origin marks the records of this package.
const Origin = "eve"

// MaxWaiting is how many events may wait for their flow.
const MaxWaiting = 5_000_000

// Emit takes a record; its error ends the import.
type Emit func(*flow.Record) error

// Importer joins events.
type Importer struct {
	Tally   source.Tally
	Lost    func(reason string, at int64) // may be nil
	waiting map[uint64]*extra
	events  int
	flowID  uint64
	rec     flow.Record
}

// New returns an empty Importer.
func New() *Importer { return &Importer{waiting: make(map[uint64]*extra)} }

// place is where a line stands.
type place struct {
	file string
	line int64
}

func (im *Importer) skip(reason string, at place, when int64, cause error) {
	im.Tally.Skip(reason, at.file, at.line, 1, cause)
	if im.Lost != nil {
		im.Lost(reason, when)
	}
}

// File reads the lines of a log. Suricata writes a flow's event when it has
// ended, behind its others. What cannot be read is counted; the error is emit's or that of ctx.
func (im *Importer) File(ctx context.Context, name string, r io.Reader, emit Emit) error {
	im.flowID = 0
	lines := source.NewLines(r)
	for {
		line, ok := lines.Next()
		if !ok {
			break
		}
		if len(line) == 0 {
			continue
		}
		at := place{name, lines.Number()}
		if at.line%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		im.Tally.Read++
		if lines.TooLong() {
			im.skip(source.SkipLong, at, 0, nil)
			continue
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			im.skip(source.SkipMalformed, at, 0, err)
			continue
		}
		if err := im.event(at, &e, emit); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		im.Tally.Read++
		im.skip(source.SkipDamaged, place{name, lines.Number() + 1}, 0, err)
	}
	return nil
}

func (im *Importer) event(at place, e *event, emit Emit) error {
	when, ok := parseTime(e.Timestamp)
	switch {
	case !ok:
		im.skip(source.SkipTime, at, 0, fmt.Errorf("timestamp %q", e.Timestamp))
	case e.Type == "flow":
		return im.flow(at, e, when, emit)
	case e.Type == "stats" || e.Type == "netflow" || e.FlowID == 0:
		im.skip(source.SkipUnknown, at, when, fmt.Errorf("event_type %q, flow_id %d", e.Type, e.FlowID))
	default:
		im.other(at, e, when)
	}
	return nil
}

// flow makes the record of a flow event.
func (im *Importer) flow(at place, e *event, when int64, emit Emit) error {
	if e.Flow == nil {
		im.skip(source.SkipMalformed, at, when, errors.New("a flow event without flow"))
		return nil
	}
	r := &im.rec
	r.Reset()
	if err := key(e, r); err != nil {
		im.skip(source.SkipAddress, at, when, err)
		return nil
	}
	var startOK, endOK bool
	r.Start, startOK = parseTime(e.Flow.Start)
	r.End, endOK = parseTime(e.Flow.End)
	if !endOK {
		r.End = max(r.Start, min(when, r.Start))
	}
	if !startOK || !source.Storable(r.Start, r.End) {
		im.skip(source.SkipTime, at, when, fmt.Errorf("flow from %q to %q", e.Flow.Start, e.Flow.End))
		return nil
	}
	im.flowID++
	r.Origin, r.FlowID, r.Interface = Origin, im.flowID, source.Clip(e.Interface, &r.Cut)
	if len(e.VLAN) > 0 {
		r.VLAN = e.VLAN[0]
	}
	if len(e.VLAN) > 1 {
		r.VLANInner = e.VLAN[1]
	}
	f := e.Flow
	r.SrcPackets, r.DstPackets = f.PacketsToServer, f.PacketsToClient
	// Suricata counts whole frames: without Ethernet's header they are IP octets, up to the padding of small frames.
	r.SrcFrameBytes, r.DstFrameBytes = f.BytesToServer, f.BytesToClient
	r.SrcBytes, r.DstBytes = ip(f.BytesToServer, f.PacketsToServer, len(e.VLAN)), ip(f.BytesToClient, f.PacketsToClient, len(e.VLAN))
	if e.TCP != nil {
		r.SrcTCPFlags, r.DstTCPFlags = hexadecimal(e.TCP.FlagsToServer), hexadecimal(e.TCP.FlagsToClient)
	}
	r.SrcPayloadBytes, r.DstPayloadBytes = source.Payload(r, r.SrcPackets, r.SrcBytes, r.SrcTCPFlags), source.Payload(r, r.DstPackets, r.DstBytes, r.DstTCPFlags)
	r.ConnState = source.ConnState(r)
	r.EndReason = reason(e)
	r.InitiatorGuessed = r.Protocol == 6 && (r.SrcTCPFlags|r.DstTCPFlags) != 0 && r.SrcTCPFlags&2 == 0
	if r.App = appOf(e.AppProto, r); r.App != "" {
		r.AppSource = flow.AppDPI
	}
	x := im.waiting[e.FlowID]
	if f.Alerted && x == nil {
		x = &extra{}
		x.risks = flow.RiskPossibleExploit
	}
	if x != nil {
		delete(im.waiting, e.FlowID)
		im.events -= x.events
		im.Tally.Joined += uint64(x.events)
		if r.App == "" {
			if r.App = appOf(x.kind, r); r.App != "" {
				r.AppSource = flow.AppDPI
			}
		}
	}
	im.Tally.Converted++
	return im.hand(r, x, emit)
}

// hand hands out r, and what its lists do not hold in further segments.
func (im *Importer) hand(r *flow.Record, x *extra, emit Emit) error {
	if x == nil {
		im.Tally.Records++
		return emit(r)
	}
	x.describe(r)
	ended := r.EndReason
	for {
		more := x.fill(r)
		r.EndReason = ended
		if more {
			r.EndReason = flow.EndListFull
		}
		im.Tally.Records++
		if err := emit(r); err != nil || !more {
			return err
		}
		r.Segment++
		r.SrcPackets, r.DstPackets, r.SrcBytes, r.DstBytes, r.SrcFrameBytes, r.DstFrameBytes = 0, 0, 0, 0, 0, 0
		r.SrcPayloadBytes, r.DstPayloadBytes, r.AppErrors = 0, 0, 0
	}
}

// Flush ends the import: flows whose event did not come become records without
// counters, in the order of time.
func (im *Importer) Flush(emit Emit) error {
	ids := make([]uint64, 0, len(im.waiting))
	for id := range im.waiting {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b uint64) int {
		return cmp.Or(cmp.Compare(im.waiting[a].start, im.waiting[b].start), cmp.Compare(a, b))
	})
	for _, id := range ids {
		x := im.waiting[id]
		r := &im.rec
		r.Reset()
		r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol = x.src, x.dst, x.srcPort, x.dstPort, x.protocol
		r.Start, r.End = x.start, x.end
		if !source.Storable(r.Start, r.End) {
			im.Tally.Skip(source.SkipTime, x.at.file, x.at.line, uint64(x.events), nil)
			continue
		}
		im.flowID++
		r.Origin, r.FlowID = Origin, im.flowID
		if r.App = appOf(x.kind, r); r.App != "" {
			r.AppSource = flow.AppDPI
		}
		im.Tally.Converted++
		im.Tally.Joined += uint64(x.events - 1)
		if err := im.hand(r, x, emit); err != nil {
			return err
		}
	}
	clear(im.waiting)
	im.events = 0
	return nil
}

// parseTime reads "2017-12-20T15:04:05.123456+0000".
func parseTime(s string) (int64, bool) {
	for _, layout := range []string{"2006-01-02T15:04:05.999999999-0700", time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 && t.Year() < 2106 {
			return t.UnixNano(), true
		}
	}
	return 0, false
}

var protocols = map[string]uint8{"TCP": 6, "UDP": 17, "ICMP": 1, "IPV6-ICMP": 58, "SCTP": 132, "GRE": 47, "ESP": 50, "AH": 51, "IGMP": 2}

// key sets the addresses and ports of r.
func key(e *event, r *flow.Record) error {
	var ok bool
	if r.SrcIP, ok = source.Address(e.SrcIP); !ok {
		return fmt.Errorf("src_ip %q is no address", e.SrcIP)
	}
	if r.DstIP, ok = source.Address(e.DestIP); !ok {
		return fmt.Errorf("dest_ip %q is no address", e.DestIP)
	}
	r.SrcPort, r.DstPort = e.SrcPort, e.DestPort
	r.Protocol = protocols[strings.ToUpper(e.Proto)]
	if r.Protocol == 1 || r.Protocol == 58 {
		r.SrcPort, r.DstPort = uint16(e.ICMPType), uint16(e.ICMPCode)
	}
	return nil
}

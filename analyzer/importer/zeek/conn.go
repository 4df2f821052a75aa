package zeek

import (
	"fmt"
	"net"
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// connection makes the record of a line of conn.log.
func (im *Importer) connection(at place, row *row, emit Emit) error {
	r := &im.rec
	r.Reset()
	start, ok := row.time("ts")
	if !ok {
		im.skip(source.SkipTime, at, 0, fmt.Errorf("ts %q", row.get("ts")))
		return nil
	}
	duration, _ := source.Decimal(row.get("duration"))
	r.Start, r.End = start, start+max(duration, 0)
	if !source.Storable(r.Start, r.End) {
		im.skip(source.SkipTime, at, 0, fmt.Errorf("ts %q, duration %q", row.get("ts"), row.get("duration")))
		return nil
	}
	var err error
	if r.SrcIP, r.DstIP, err = row.addresses(); err != nil {
		im.skip(source.SkipAddress, at, start, err)
		return nil
	}
	im.flowID++
	r.Origin, r.FlowID = Origin, im.flowID
	r.Interface = source.Clip(row.first("_node_name", "_system_name", "@system"), &r.Cut)
	r.SrcPort, r.DstPort = uint16(row.number("id.orig_p", 16)), uint16(row.number("id.resp_p", 16))
	r.Protocol = protocolOf(row, r)
	r.VLAN, r.VLANInner = uint16(row.number("vlan", 16)), uint16(row.number("inner_vlan", 16))
	r.SrcMAC, r.DstMAC = macOf(row.get("orig_l2_addr")), macOf(row.get("resp_l2_addr"))
	r.SrcPackets, r.DstPackets = row.number("orig_pkts", 64), row.number("resp_pkts", 64)
	r.SrcBytes, r.DstBytes = row.number("orig_ip_bytes", 64), row.number("resp_ip_bytes", 64)
	r.SrcPayloadBytes, r.DstPayloadBytes = row.number("orig_bytes", 64), row.number("resp_bytes", 64)
	r.ConnState = connStates[row.get("conn_state")]
	r.History = source.Clip(row.get("history"), &r.Cut)
	r.SrcTCPFlags, r.DstTCPFlags = flagsOf(r)
	r.InitiatorGuessed = strings.HasPrefix(r.History, "^") || r.Protocol == 6 && r.ConnState == flow.ConnOTH
	r.EndReason = endOf(r)
	if row.number("missed_bytes", 64) > 0 {
		r.Cut |= flow.CutStream
	}
	for _, uid := range row.list("tunnel_parents") {
		if t, ok := im.tunnels[uid]; ok {
			r.Tunnel = t
		}
	}
	services := row.list("service")
	if r.App = pickApp(services, r.DstPort); r.App != "" {
		r.AppSource = flow.AppDPI
	}
	uid := row.get("uid")
	e := im.waiting[uid]
	if e != nil {
		delete(im.waiting, uid)
		im.lines -= e.lines
		im.Tally.Joined += uint64(e.lines)
		if r.App == "" {
			if r.App = appOf(e.kind, r.DstPort); r.App != "" {
				r.AppSource = flow.AppDPI
			}
		}
	}
	im.Tally.Converted++
	return im.hand(r, e, emit)
}

// hand completes r by what the other logs say, and hands it out; what is more
// than a record's lists hold goes into further segments, whose counters are 0.
func (im *Importer) hand(r *flow.Record, e *extra, emit Emit) error {
	if e == nil {
		im.Tally.Records++
		return emit(r)
	}
	e.describe(r, im.certs)
	reason := r.EndReason
	for {
		more := e.fill(r)
		r.EndReason = reason
		if more {
			r.EndReason = flow.EndListFull
		}
		im.Tally.Records++
		if err := emit(r); err != nil || !more {
			return err
		}
		r.Segment++
		r.SrcPackets, r.DstPackets, r.SrcBytes, r.DstBytes, r.SrcPayloadBytes, r.DstPayloadBytes = 0, 0, 0, 0, 0, 0
		r.AppErrors = 0
	}
}

var protocols = map[string]uint8{"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "sctp": 132, "igmp": 2, "gre": 47, "esp": 50, "ah": 51, "ospf": 89, "pim": 103}

func protocolOf(row *row, r *flow.Record) uint8 {
	if n := row.number("ip_proto", 8); n != 0 {
		return uint8(n)
	}
	p := protocols[row.get("proto")]
	if p == 1 && !r.SrcIP.Is4() {
		p = 58
	}
	return p
}

func macOf(s string) flow.MAC {
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 {
		return 0
	}
	return flow.MACFrom(m)
}

var connStates = func() map[string]flow.ConnState {
	m := make(map[string]flow.ConnState)
	for c := flow.ConnS0; c <= flow.ConnOTH; c++ {
		m[c.String()] = c
	}
	return m
}()

// flagsOf are the TCP flags that the history's letters stand for.
func flagsOf(r *flow.Record) (src, dst uint8) {
	if r.Protocol != 6 {
		return 0, 0
	}
	const fin, syn, rst, ack = 1, 2, 4, 16
	for _, c := range []byte(r.History) {
		flags := &dst
		if c >= 'A' && c <= 'Z' {
			flags = &src
			c += 'a' - 'A'
		}
		switch c {
		case 's':
			*flags |= syn
		case 'h':
			*flags |= syn | ack
		case 'a', 'd':
			*flags |= ack
		case 'f':
			*flags |= fin | ack
		case 'r':
			*flags |= rst
		}
	}
	return src, dst
}

// endOf is why a TCP connection ended, where its state tells: in order, or by a reset.
func endOf(r *flow.Record) flow.EndReason {
	if r.Protocol != 6 {
		return flow.EndNone
	}
	switch r.ConnState {
	case flow.ConnSF, flow.ConnREJ, flow.ConnRSTO, flow.ConnRSTR, flow.ConnRSTOS0, flow.ConnRSTRH:
		return flow.EndDetected
	}
	return flow.EndNone
}

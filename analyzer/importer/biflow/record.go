package biflow

import (
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TCP flags.
const fin, syn, rst, psh, ack = source.FIN, source.SYN, source.RST, source.PSH, source.ACK

// emit makes the record of a half and its other, which is nil where there is none.
func (t *Table) emit(h, other *Half) error {
	known := true
	if other != nil && t.turned(h, other) {
		h, other = other, h
	}
	if other == nil && h.RevPackets == 0 && h.RevBytes == 0 {
		known = !answers(h)
		if !known {
			// The responder's half alone: the flow has the other direction.
			other, h = h, &Half{Key: h.Key.reverse(), Interface: h.Interface, Start: h.Start, End: h.End,
				EndReason: h.EndReason, Sampling: h.Sampling, Direction: h.Direction, VLAN: h.VLAN, App: h.App, SrcMAC: h.DstMAC, DstMAC: h.SrcMAC}
		}
	}
	r := &t.rec
	r.Reset()
	r.Origin, r.Interface, r.App = h.Origin, h.Interface, h.App
	if r.App != "" {
		r.AppSource = flow.AppDPI
	}
	r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol = h.Src, h.Dst, h.SrcPort, h.DstPort, h.Protocol
	if r.Protocol == 1 || r.Protocol == 58 {
		r.SrcPort, r.DstPort = uint16(h.ICMPType), uint16(h.ICMPCode)
	}
	r.Start, r.End, r.EndReason = h.Start, h.End, h.EndReason
	r.SrcPackets, r.SrcBytes, r.SrcFrameBytes, r.SrcTCPFlags = h.Packets, h.Bytes, h.FrameBytes, h.Flags
	r.DstPackets, r.DstBytes, r.DstTCPFlags = h.RevPackets, h.RevBytes, h.RevFlags
	r.SrcDSCP, r.SrcTTL, r.VLAN, r.SrcMAC, r.DstMAC = h.DSCP, h.TTL, h.VLAN, h.SrcMAC, h.DstMAC
	r.SrcSizeMin, r.SrcSizeMax = h.MinSize, h.MaxSize
	if h.Sampling > 1 {
		r.Sampling = h.Sampling
	}
	if other != nil {
		r.Start, r.End = min(r.Start, other.Start), max(r.End, other.End)
		r.DstPackets, r.DstBytes, r.DstFrameBytes, r.DstTCPFlags = other.Packets, other.Bytes, other.FrameBytes, other.Flags
		r.DstDSCP, r.DstTTL, r.DstSizeMin, r.DstSizeMax = other.DSCP, other.TTL, other.MinSize, other.MaxSize
		r.Sampling = max(r.Sampling, other.Sampling)
		if r.Sampling == 1 {
			r.Sampling = 0
		}
		if r.EndReason == flow.EndNone {
			r.EndReason = other.EndReason
		}
		r.App = first(r.App, other.App)
	}
	r.SrcPayloadBytes = source.Payload(r, r.SrcPackets, r.SrcBytes, r.SrcTCPFlags)
	r.DstPayloadBytes = source.Payload(r, r.DstPackets, r.DstBytes, r.DstTCPFlags)
	r.ConnState = source.ConnState(r)
	r.InitiatorGuessed = !known || t.guessed(h, other, r)
	t.number(h, r)
	return t.Emit(r)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// number makes r the next segment of the flow that had its key before, or a flow of its own.
func (t *Table) number(h *Half, r *flow.Record) {
	key := h.Key
	was, ok := t.recent[key]
	if !ok {
		if was, ok = t.recent[key.reverse()]; ok {
			key = key.reverse()
		}
	}
	open := r.Protocol == 6 && (r.SrcTCPFlags|r.DstTCPFlags)&(fin|rst) != 0
	if ok && !was.closed && r.Start >= was.end-int64(Gap) && r.Start <= was.end+int64(Gap) && r.Start > was.startFrom && !(r.Protocol == 6 && r.SrcTCPFlags&(syn|ack) == syn) {
		r.FlowID, r.Segment = was.flowID, was.segment+1
		if was.reversed != (key != h.Key) { // the first segment has settled who began
			turn(r)
		}
		was.end, was.segment, was.closed, was.startFrom = max(was.end, r.End), r.Segment, open, r.Start
		t.recent[key] = was
		return
	}
	t.flowID++
	r.FlowID = t.flowID
	if ok {
		t.past.Remove(was.at)
		delete(t.recent, key)
	}
	t.recent[h.Key] = recent{end: r.End, startFrom: r.Start, flowID: r.FlowID, closed: open, ingress: h.Direction == Ingress, at: t.past.PushBack(h.Key)}
}

// turn swaps the directions of r.
func turn(r *flow.Record) {
	r.SrcIP, r.DstIP, r.SrcPort, r.DstPort = r.DstIP, r.SrcIP, r.DstPort, r.SrcPort
	r.SrcPackets, r.DstPackets, r.SrcBytes, r.DstBytes = r.DstPackets, r.SrcPackets, r.DstBytes, r.SrcBytes
	r.SrcFrameBytes, r.DstFrameBytes = r.DstFrameBytes, r.SrcFrameBytes
	r.SrcPayloadBytes, r.DstPayloadBytes = r.DstPayloadBytes, r.SrcPayloadBytes
	r.SrcTCPFlags, r.DstTCPFlags, r.SrcTTL, r.DstTTL, r.SrcDSCP, r.DstDSCP = r.DstTCPFlags, r.SrcTCPFlags, r.DstTTL, r.SrcTTL, r.DstDSCP, r.SrcDSCP
	r.SrcMAC, r.DstMAC = r.DstMAC, r.SrcMAC
	r.SrcSizeMin, r.DstSizeMin, r.SrcSizeMax, r.DstSizeMax = r.DstSizeMin, r.SrcSizeMin, r.DstSizeMax, r.SrcSizeMax
}

// turned says whether b began what a is the answer to: the one that started
// first did; at the same time, the one that speaks to the service.
func (t *Table) turned(a, b *Half) bool {
	switch {
	case a.BeginKnown != b.BeginKnown:
		return b.BeginKnown
	case a.Protocol == 6 && onlySyn(a.Flags) != onlySyn(b.Flags):
		return onlySyn(b.Flags)
	case (a.Protocol == 1 || a.Protocol == 58) && echoReply(a) != echoReply(b):
		return echoReply(a)
	case a.Start != b.Start:
		return b.Start < a.Start
	}
	return toClient(a)
}

func onlySyn(flags uint8) bool { return flags&(syn|ack|fin|rst|psh) == syn }

func echoReply(h *Half) bool {
	return h.Protocol == 1 && h.ICMPType == 0 || h.Protocol == 58 && h.ICMPType == 129
}

// toClient says whether ports look like those of an answer: from a service to a client.
func toClient(h *Half) bool { return h.SrcPort < h.DstPort && h.SrcPort != 0 && h.SrcPort < 1024 }

// answers says whether a half that is alone is an answer, as far as that can be seen.
func answers(h *Half) bool {
	switch h.Protocol {
	case 6:
		if h.BeginKnown || onlySyn(h.Flags) {
			return false
		}
		return h.Flags != 0 && h.Flags&syn == 0 && h.Flags&(rst|ack) != 0 && toClient(h) || toClient(h) && h.DstPort >= 1024
	case 17:
		return !h.BeginKnown && toClient(h) && h.DstPort >= 1024
	case 1, 58:
		return echoReply(h)
	}
	return false
}

// guessed says whether it is uncertain who began: ends of a flow that started
// before the exporter saw it, samples, and exporters that tell one direction only.
func (t *Table) guessed(h, other *Half, r *flow.Record) bool {
	s := t.sides[h.Exporter]
	if s == nil {
		s = &sides{}
		t.sides[h.Exporter] = s
	}
	if r.DstPackets > 0 && r.SrcPackets > 0 {
		s.both++
		switch {
		case h.BeginKnown, r.Protocol == 6 && onlySyn(h.Flags):
			return false
		case r.Sampling > 1:
			return true
		case other == nil:
			return !toClient(&Half{Key: h.Key.reverse()})
		case h.Start == other.Start:
			return toClient(h) || !toClient(other)
		}
		return r.Protocol == 6 && r.SrcTCPFlags&syn == 0 && r.SrcTCPFlags != 0
	}
	if r.Protocol == 6 && h.Flags&(syn|ack) == syn|ack && r.Sampling <= 1 {
		s.one++ // it has acknowledged something
	}
	if h.BeginKnown || r.Protocol == 6 && onlySyn(h.Flags) {
		return false
	}
	return r.Sampling > 1 || s.one > s.both || r.Protocol == 6
}

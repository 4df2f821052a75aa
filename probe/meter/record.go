package meter

import (
	"github.com/tapwatch/tapwatch/proto/flow"
)

// fill writes everything but the inspection's fields into rec.
func (t *Table) fill(rec *flow.Record, e *entry, reason flow.EndReason) {
	e.observation(rec)
	rec.Start, rec.End, rec.EndReason = e.start, e.end, reason
	rec.FlowID, rec.Segment = e.id, e.segment
	src, dst := &e.side[e.initiator], &e.side[e.initiator^1]
	rec.SrcPackets, rec.DstPackets = src.packets, dst.packets
	rec.SrcBytes, rec.DstBytes = src.bytes, dst.bytes
	rec.SrcFrameBytes, rec.DstFrameBytes = src.frames, dst.frames
	rec.SrcPayloadBytes, rec.DstPayloadBytes = src.payload, dst.payload
	rec.SrcTCPFlags, rec.DstTCPFlags = src.flags, dst.flags
	rec.ConnState = e.connState()
	rec.History = t.histories.text(e.history[:e.historyLen])
	rec.DstRTT, rec.SrcRTT = e.dstRTT, e.srcRTT
	rec.SrcRetransmits, rec.DstRetransmits = src.retransmits, dst.retransmits
	rec.SrcOutOfOrder, rec.DstOutOfOrder = src.outOfOrder, dst.outOfOrder
	rec.SrcTTL, rec.DstTTL = src.ttl, dst.ttl
	rec.Response = e.response
	if e.historyCut {
		rec.Cut |= flow.CutHistory
	}
}

// observation writes where the flow was seen, and its key.
func (e *entry) observation(rec *flow.Record) {
	rec.Interface, rec.VLAN, rec.VLANInner = e.iface, e.vlan, e.vlanInner
	rec.Tunnel, rec.TunnelID = e.tunnel, e.tunnelID
	rec.SrcMAC, rec.DstMAC = e.srcMAC, e.dstMAC
	rec.SrcIP, rec.DstIP = e.address(e.initiator), e.address(e.initiator^1)
	rec.SrcPort, rec.DstPort, rec.Protocol = e.srcPort, e.dstPort, e.protocol
	rec.InitiatorGuessed = e.guessed
}

// histories keeps one string for each history met, so that a record allocates
// none. When it is full it begins anew.
type histories map[string]string

const maxHistories = 4096

func (h histories) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := h[string(b)]; ok {
		return s
	}
	if len(h) >= maxHistories {
		clear(h)
	}
	s := string(b)
	h[s] = s
	return s
}

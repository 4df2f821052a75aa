package meter

import (
	"math"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// fill writes everything but the inspection's fields into rec.
func (t *Table) fill(rec *flow.Record, e *entry, reason flow.EndReason) {
	t.observation(rec, e)
	t.complete(rec, e, reason)
}

// complete is fill for a record with an observation.
func (t *Table) complete(rec *flow.Record, e *entry, reason flow.EndReason) {
	rec.Start, rec.End, rec.EndReason = e.start, e.end, reason
	rec.FlowID, rec.Segment = e.id, e.segment
	src, dst := &e.side[e.initiator], &e.side[e.initiator^1]
	rec.SrcTCPFlags, rec.DstTCPFlags = src.flags, dst.flags
	rec.SrcTTL, rec.DstTTL = src.ttl, dst.ttl
	rec.SrcDSCP, rec.DstDSCP = src.dscp, dst.dscp
	rec.SrcECN, rec.DstECN = src.ecn, dst.ecn
	rec.SrcMSS, rec.DstMSS = src.mss, dst.mss
	rec.ConnState = t.connState(e)
	rec.History = t.histories.text(t.historyOf(e))
	rec.Response = e.response()
	if rec.EtherType != 0 {
		rec.App, rec.AppSource = "arp", flow.AppDPI
	}
	t.fillTCP(rec, e)
	t.fillTalk(rec, e)
}

// observation writes where the flow was seen, and its key.
func (t *Table) observation(rec *flow.Record, e *entry) {
	rec.Interface = t.ifaces.names[e.iface]
	rec.VLAN, rec.VLANInner = e.key.vlans()
	rec.Tunnel, rec.TunnelID = e.key.tunnel(), 0
	rec.OuterSrcIP, rec.OuterDstIP = flow.Addr{}, flow.Addr{}
	if e.carrier != 0 {
		c := t.carriers.at(e.carrier)
		rec.TunnelID, rec.VLAN, rec.VLANInner = c.id, c.vlan, c.vlanInner
		rec.OuterSrcIP, rec.OuterDstIP = c.src, c.dst
	}
	rec.SrcMAC, rec.DstMAC = flow.MACFrom(e.srcMAC[:]), flow.MACFrom(e.dstMAC[:])
	rec.SrcIP, rec.DstIP = e.address(e.initiator), e.address(e.initiator^1)
	rec.SrcPort, rec.DstPort, rec.Protocol = e.srcPort, e.dstPort, e.protocol
	rec.EtherType = e.key.etherType()
	rec.InitiatorGuessed = e.guessed
}

func (t *Table) fillTCP(rec *flow.Record, e *entry) {
	var none conn
	c := &none
	if e.conn != 0 {
		c = t.conns.at(e.conn)
	}
	src, dst := &c.end[e.initiator].segment, &c.end[e.initiator^1].segment
	rec.DstRTT, rec.SrcRTT = c.dstRTT, c.srcRTT
	rec.SrcRetransmits, rec.DstRetransmits = src.retransmits, dst.retransmits
	rec.SrcOutOfOrder, rec.DstOutOfOrder = src.outOfOrder, dst.outOfOrder
	rec.SrcZeroWindows, rec.DstZeroWindows = src.zeroWindows, dst.zeroWindows
	if c.historyCut {
		rec.Cut |= flow.CutHistory
	}
}

// fillTalk writes the volume and the behaviour of the segment.
func (t *Table) fillTalk(rec *flow.Record, e *entry) {
	var k *talk
	if e.talk != 0 {
		k = t.talks.at(e.talk)
	} else { // one packet, or none
		t.single = talk{}
		k = &t.single
		if e.loneSide >= 0 {
			k.half[e.loneSide].add(e.start, e.lone.bytes, e.lone.frame, e.lonePayload())
		}
	}
	l := &t.lists // of the record at hand, until it has been emitted
	rec.SrcSizeBins, rec.DstSizeBins, rec.FirstSizes, rec.FirstGaps = l.bins[0][:0], l.bins[1][:0], l.sizes[:0], l.gaps[:0]
	k.describe(rec, e.initiator)
	switch {
	case e.segment > 0:
	case k.firsts != 0:
		f := t.firsts.at(k.firsts)
		for i := range k.firstsN {
			size := int32(f.sizes[i])
			if uint8(f.turns>>i&1) != e.initiator {
				size = -size
			}
			rec.FirstSizes, rec.FirstGaps = append(rec.FirstSizes, size), append(rec.FirstGaps, f.gaps[i])
		}
	case e.loneSide >= 0 && e.lonePayload() > 0:
		size := int32(saturate16(e.lonePayload()))
		if uint8(e.loneSide) != e.initiator {
			size = -size
		}
		rec.FirstSizes, rec.FirstGaps = append(rec.FirstSizes, size), append(rec.FirstGaps, 0)
	}
}

// describe writes what k says of its packets; initiator is the side that began.
func (k *talk) describe(rec *flow.Record, initiator uint8) {
	src, dst := &k.half[initiator], &k.half[initiator^1]
	rec.SrcPackets, rec.DstPackets = uint64(src.packets), uint64(dst.packets)
	rec.SrcBytes, rec.DstBytes = src.bytes, dst.bytes
	rec.SrcFrameBytes, rec.DstFrameBytes = src.frames, dst.frames
	rec.SrcPayloadBytes, rec.DstPayloadBytes = src.payload, dst.payload
	rec.SrcSizeBins, rec.DstSizeBins = appendBins(rec.SrcSizeBins[:0], &src.bins), appendBins(rec.DstSizeBins[:0], &dst.bins)
	rec.SrcSizeMin, rec.SrcSizeMax = src.sizeMin, src.sizeMax
	rec.DstSizeMin, rec.DstSizeMax = dst.sizeMin, dst.sizeMax
	rec.SrcSizeStd = float32(deviation(uint64(src.packets), src.bytes, src.sizeSquares))
	rec.DstSizeStd = float32(deviation(uint64(dst.packets), dst.bytes, dst.sizeSquares))
	rec.SrcIATMin, rec.SrcIATMax, rec.SrcIATMean, rec.SrcIATStd = src.gaps()
	rec.DstIATMin, rec.DstIATMax, rec.DstIATMean, rec.DstIATStd = dst.gaps()
	rec.Transactions, rec.TransactionMin, rec.TransactionMax, rec.TransactionMean = k.transactions, k.answerMin, k.answerMax, 0
	if k.transactions > 0 {
		rec.TransactionMean = uint32(rounded(float64(k.answerSum) / float64(k.transactions)))
	}
	rec.ICMPErrors, rec.ICMPError = k.icmpErrs, k.icmpErr
}

func appendBins(list []uint32, bins *[sizeBins]uint32) []uint32 {
	n := sizeBins
	for n > 0 && bins[n-1] == 0 {
		n--
	}
	return append(list, bins[:n]...)
}

// gaps returns what is said of the time between packets, in µs.
func (h *half) gaps() (least, most, mean, std uint32) {
	if h.packets < 2 {
		return 0, 0, 0, 0
	}
	n := uint64(h.packets - 1)
	return h.gapMin, h.gapMax, rounded(float64(h.gapSum) / float64(n)), rounded(gapDeviation(n, h.gapSum, h.gapSquares))
}

func rounded(v float64) uint32 { return uint32(min(math.Round(v), math.MaxUint32)) }

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

// lists is the memory of lists that are written when a record is made.
type lists struct {
	bins  [2][sizeBins]uint32
	sizes [maxFirsts]int32
	gaps  [maxFirsts]uint32
}

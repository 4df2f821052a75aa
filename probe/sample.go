package probe

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// sampler decides which packets are looked at. Both ways are deterministic:
// one flow in N, all of its packets and both directions, by a hash that is the
// same in every probe, so that two taps keep the same flows; and one packet in
// N by counting (RFC 5475 section 5.1), whose records are scaled up and say so.
// The zero value takes all.
type sampler struct {
	most    uint64 // a flow is kept when its hash is not above; 0: all are
	packets uint32 // one in so many; 0 and 1: all
	since   uint32 // packets left out since the last one taken
}

// set changes the rates; 0 and 1 take all.
func (s *sampler) set(flows, packets uint32) {
	s.most = 0
	if flows > 1 {
		s.most = math.MaxUint64 / uint64(flows)
	}
	if packets != s.packets {
		s.packets, s.since = packets, 0
	}
}

// skip counts a packet, and reports whether it is left out. The first of each
// N is taken.
func (s *sampler) skip() bool {
	if s.packets <= 1 {
		return false
	}
	taken := s.since == 0
	if s.since++; s.since >= s.packets {
		s.since = 0
	}
	return !taken
}

// has reports whether the flow of p is among those kept.
func (s *sampler) has(p *decode.Packet) bool { return s.most == 0 || flowHash(p) <= s.most }

// flowHash is the same for both directions of a flow, and for all pieces of
// its fragmented datagrams that have found their ports. ICMP messages go by
// their identifier, so that a request and its reply meet.
func flowHash(p *decode.Packet) uint64 {
	a, b := endHash(&p.Src), endHash(&p.Dst)
	ports := uint64(p.ICMPID)
	switch p.Protocol {
	case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP:
		a += uint64(p.SrcPort) * mixPort
		b += uint64(p.DstPort) * mixPort
		ports = 0
	}
	return mix(mix(a, mixA)+mix(b, mixA), ports<<8|uint64(p.Protocol)|mixB)
}

func endHash(a *flow.Addr) uint64 {
	return mix(binary.LittleEndian.Uint64(a[:])^mixB, binary.LittleEndian.Uint64(a[8:])^mixA)
}

// Odd constants with about half their bits set (from the golden ratio, and the
// finaliser of splitmix64 by Steele, Lea and Flood, 2014).
const (
	mixA    = 0x9e3779b97f4a7c15
	mixB    = 0xbf58476d1ce4e5b9
	mixPort = 0x94d049bb133111eb
)

// mix multiplies to 128 bits and folds the halves together.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// scale makes a record's counters stand for all packets, and marks it.
func (s *sampler) scale(r *flow.Record) {
	if s.packets <= 1 {
		return
	}
	n := uint64(s.packets)
	r.Sampling = s.packets
	for _, c := range [...]*uint64{&r.SrcPackets, &r.DstPackets, &r.SrcBytes, &r.DstBytes, &r.SrcFrameBytes, &r.DstFrameBytes,
		&r.SrcPayloadBytes, &r.DstPayloadBytes} {
		*c *= n
	}
	for _, bins := range [...][]uint32{r.SrcSizeBins, r.DstSizeBins} {
		for i := range bins {
			bins[i] = uint32(min(uint64(bins[i])*n, math.MaxUint32))
		}
	}
}

package source

import "github.com/tapwatch/tapwatch/proto/flow"

// Flags of TCP (RFC 9293).
const FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

// Payload estimates the octets above the transport header of one direction, of
// which exporters tell nothing: IP octets less the headers that TCP with time stamps, UDP and ICMP have.
// A TCP direction without PSH in which packets are hardly larger than headers carried none.
func Payload(r *flow.Record, packets, bytes uint64, flags uint8) uint64 {
	header := uint64(20)
	if !r.SrcIP.Is4() {
		header = 40
	}
	switch r.Protocol {
	case 6:
		header += 32
	case 17, 1, 58:
		header += 8
	}
	over := uint64(0)
	if bytes > packets*header {
		over = bytes - packets*header
	}
	if r.Protocol == 6 {
		if flags&PSH != 0 && bytes > 0 {
			return max(over, 1)
		}
		if over < 64*packets {
			return 0
		}
	}
	return over
}

// ConnState is Zeek's conn_state as far as the flags of both directions give it.
func ConnState(r *flow.Record) flow.ConnState {
	src, dst := r.SrcTCPFlags, r.DstTCPFlags
	switch {
	case r.Protocol == 17 || r.Protocol == 1 || r.Protocol == 58:
		if r.DstPackets == 0 {
			return flow.ConnS0
		}
		if r.SrcPackets == 0 {
			return flow.ConnSHR
		}
		return flow.ConnSF
	case r.Protocol != 6, src|dst == 0:
		return flow.ConnNone
	case r.DstPackets == 0 && src&(SYN|ACK) == SYN:
		if src&RST != 0 {
			return flow.ConnRSTOS0
		}
		return flow.ConnS0
	case r.DstPackets == 0 || r.SrcPackets == 0 || src&SYN == 0 && dst&SYN == 0:
		return flow.ConnOTH
	case dst&(SYN|RST) == RST && r.DstPayloadBytes == 0 && src&SYN != 0:
		return flow.ConnREJ
	case src&RST != 0:
		return flow.ConnRSTO
	case dst&RST != 0:
		return flow.ConnRSTR
	case src&FIN != 0 && dst&FIN != 0:
		return flow.ConnSF
	case src&FIN != 0:
		return flow.ConnS2
	case dst&FIN != 0:
		return flow.ConnS3
	}
	return flow.ConnS1
}

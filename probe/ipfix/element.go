package ipfix

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Information elements (IANA, IPFIX Entities).
const (
	octetDeltaCount            = 1
	packetDeltaCount           = 2
	protocolIdentifier         = 4
	ipClassOfService           = 5
	tcpControlBits             = 6
	sourceTransportPort        = 7
	sourceIPv4Address          = 8
	ingressInterface           = 10
	destinationTransportPort   = 11
	destinationIPv4Address     = 12
	sourceIPv6Address          = 27
	destinationIPv6Address     = 28
	icmpTypeCodeIPv4           = 32
	exportedOctetTotalCount    = 40
	exportedMessageTotalCount  = 41
	exportedFlowRecordTotal    = 42
	sourceMacAddress           = 56
	vlanID                     = 58
	destinationMacAddress      = 80
	interfaceName              = 82
	applicationName            = 96
	flowEndReason              = 136
	icmpTypeCodeIPv6           = 139
	exportingProcessID         = 144
	flowID                     = 148
	observationDomainID        = 149
	flowStartMilliseconds      = 152
	flowStartMicroseconds      = 154
	flowStartNanoseconds       = 156
	systemInitTimeMilliseconds = 160
	notSentFlowTotalCount      = 166
	notSentPacketTotalCount    = 167
	notSentOctetTotalCount     = 168
	ipTTL                      = 192
	biflowDirection            = 239
	dot1qCustomerVlanID        = 245
	ethernetType               = 256
	selectorID                 = 302
	selectorAlgorithm          = 304
	samplingPacketInterval     = 305
	samplingPacketSpace        = 306
	layer2SegmentID            = 351
	layer2OctetDeltaCount      = 352
	httpStatusCode             = 457
	httpRequestMethod          = 459
	httpRequestHost            = 460
	httpRequestTarget          = 461
	httpUserAgent              = 468
	httpContentType            = 469
)

// reversePEN marks an element as that of the other direction (RFC 5103, section 6.1).
const reversePEN = 29305

// variable is the length of a field that tells its own (RFC 7011, section 7).
const variable = 65535

// direction is one direction of a flow, as a collector of uniflows sees it.
type direction struct {
	src, dst         *flow.Addr
	srcMAC, dstMAC   flow.MAC
	srcPort, dstPort uint16
	packets          uint64
	octets           uint64
	frames           uint64
	icmp             uint16 // type and code
	flags, ttl, dscp uint8
	start            int64
}

// directions splits r. The responder's first packet is the initiator's first and the time until the answer; the end is told for
// both together, because the record does not know it for each.
func directions(r *flow.Record, d *[2]direction) {
	d[0] = direction{src: &r.SrcIP, dst: &r.DstIP, srcMAC: r.SrcMAC, dstMAC: r.DstMAC, srcPort: r.SrcPort, dstPort: r.DstPort,
		packets: r.SrcPackets, octets: r.SrcBytes, frames: r.SrcFrameBytes, flags: r.SrcTCPFlags, ttl: r.SrcTTL, dscp: r.SrcDSCP, start: r.Start}
	d[1] = direction{src: &r.DstIP, dst: &r.SrcIP, srcMAC: r.DstMAC, dstMAC: r.SrcMAC, srcPort: r.DstPort, dstPort: r.SrcPort,
		packets: r.DstPackets, octets: r.DstBytes, frames: r.DstFrameBytes, flags: r.DstTCPFlags, ttl: r.DstTTL, dscp: r.DstDSCP, start: r.Start}
	if at := r.Start + int64(r.Response)*1000; r.Segment == 0 && at <= r.End {
		d[1].start = at
	}
	if icmp(r.Protocol) {
		d[0].icmp = r.SrcPort<<8 | r.DstPort&0xff
		d[1].icmp = answerType(r.Protocol, r.SrcPort)<<8 | r.DstPort&0xff
	}
}

const (
	protoICMP   = 1
	protoICMPv6 = 58
)

func icmp(protocol uint8) bool { return protocol == protoICMP || protocol == protoICMPv6 }

// answerType is the ICMP type of the answer to a message of type t, or the request that t answers; t itself where there is neither.
func answerType(protocol uint8, t uint16) uint16 {
	pairs := [...][2]uint16{{8, 0}, {13, 14}, {15, 16}, {17, 18}, {10, 9}} // RFC 792, 950, 1256
	if protocol == protoICMPv6 {
		pairs = [...][2]uint16{{128, 129}, {133, 134}, {135, 136}, {139, 140}, {144, 145}} // RFC 4443, 4861, 4620, 6275
	}
	for _, p := range pairs {
		if t == p[0] {
			return p[1]
		}
		if t == p[1] {
			return p[0]
		}
	}
	return t
}

// etherType is that of r's packets: ARP has a record of its own.
func etherType(r *flow.Record) uint16 {
	switch {
	case r.EtherType != 0:
		return r.EtherType
	case shapeOf(r, false)&shapeIPv6 != 0:
		return 0x86dd
	}
	return 0x0800
}

// endReason maps to the values of the registry: a record that is cut because a list is full goes on like one cut by the active timeout.
func endReason(e flow.EndReason) byte {
	if e == flow.EndListFull {
		return byte(flow.EndActive)
	}
	return byte(e)
}

// segmentID encodes a VXLAN or GENEVE network identifier; other tunnels have no code in the registry of layer2SegmentId.
func segmentID(r *flow.Record) uint64 {
	if r.Tunnel == flow.TunnelVXLAN {
		return 1<<56 | uint64(r.TunnelID&0xffffff)
	}
	return 0
}

// appendMAC and the others below append a value as RFC 7011, section 6.1, encodes it.
func appendMAC(b []byte, m flow.MAC) []byte {
	return append(b, byte(m>>40), byte(m>>32), byte(m>>24), byte(m>>16), byte(m>>8), byte(m))
}

// ntpEpoch is the Unix epoch in seconds of NTP (RFC 5905, section 6).
const ntpEpoch = 2208988800

// appendTime appends ns since the Unix epoch at the resolution of element. Times before 1970 are 0.
func appendTime(b []byte, element uint16, ns int64) []byte {
	ns = max(ns, 0)
	if element == flowStartMilliseconds {
		return binary.BigEndian.AppendUint64(b, uint64(ns/1e6))
	}
	seconds, rest := uint64(ns)/1e9, uint64(ns)%1e9
	fraction := rest << 32 / 1e9
	if element == flowStartMicroseconds {
		fraction &^= 0x7ff // the lower 11 bits are to be ignored (section 6.1.9)
	} else if back := fraction * 1e9 >> 32; back < rest && fraction < math.MaxUint32 {
		fraction++ // the value that a reader who cuts turns into the same nanosecond
	}
	return binary.BigEndian.AppendUint64(b, (seconds+ntpEpoch)<<32|fraction&math.MaxUint32)
}

// appendText appends s, at most limit octets of it and cut between two characters, after its length. What is not UTF-8 becomes "?".
func appendText(b []byte, s string, limit int) []byte {
	if len(s) > limit {
		end := limit
		for end > 0 && limit-end < utf8.UTFMax-1 && !utf8.RuneStart(s[end]) {
			end--
		}
		if !utf8.RuneStart(s[end]) { // it is not UTF-8 anyway
			end = limit
		}
		s = s[:end]
	}
	if len(s) < 255 {
		b = append(b, byte(len(s)))
	} else {
		b = append(b, 255, byte(len(s)>>8), byte(len(s)))
	}
	if utf8.ValidString(s) {
		return append(b, s...)
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, '?')
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return b
}

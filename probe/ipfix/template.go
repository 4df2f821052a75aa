package ipfix

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// shape says what a flow's template holds; its template is firstTemplate + shape.
type shape uint8

const (
	shapeIPv6 shape = 1 << iota
	shapeICMP
	shapeHTTP
	shapeSegment // layer2SegmentId
	shapeBiflow
	shapes
)

const (
	firstTemplate      = 256 // smaller numbers are those of sets (RFC 7011, section 3.3.2)
	statisticsTemplate = 512
	interfaceTemplate  = 513
	samplingTemplate   = 514
	processTemplate    = 515

	setTemplate = 2
	setOptions  = 3
)

// shapeOf tells the template of r.
func shapeOf(r *flow.Record, biflow bool) shape {
	var s shape
	if !r.SrcIP.Is4() || !r.DstIP.Is4() {
		s |= shapeIPv6
	}
	switch {
	case icmp(r.Protocol):
		s |= shapeICMP
	case r.HTTPMethod != "" || r.HTTPStatus != 0:
		s |= shapeHTTP
	}
	if segmentID(r) != 0 {
		s |= shapeSegment
	}
	if biflow && r.DstPackets > 0 { // a flow with one direction is a uniflow
		s |= shapeBiflow
	}
	return s
}

// field is one field of a template. put appends exactly size octets, or text after its length where size is variable.
type field struct {
	element, size uint16
	reverse       bool // of the other direction
	put           func(b []byte, in *input) []byte
}

// input is what the fields of one data record are made of.
type input struct {
	*flow.Record
	*direction        // of the field
	iface      uint32 // number of the interface
	text       int    // octets that a text may have
	sampled    uint64 // counts are divided by it, 1 or more
}

// layout lists the fields of a flow record of shape s; start is the element of the time of start, whose end has the next number.
func layout(s shape, start uint16) []field {
	u16, u64 := binary.BigEndian.AppendUint16, binary.BigEndian.AppendUint64
	fields := []field{
		{start, 8, false, func(b []byte, in *input) []byte { return appendTime(b, start, in.start) }},
		{start + 1, 8, false, func(b []byte, in *input) []byte { return appendTime(b, start, in.End) }},
	}
	add := func(element, size uint16, put func(b []byte, in *input) []byte) {
		fields = append(fields, field{element, size, false, put})
	}
	if s&shapeIPv6 == 0 {
		add(sourceIPv4Address, 4, func(b []byte, in *input) []byte { return append(b, in.src[12:]...) })
		add(destinationIPv4Address, 4, func(b []byte, in *input) []byte { return append(b, in.dst[12:]...) })
	} else {
		add(sourceIPv6Address, 16, func(b []byte, in *input) []byte { return append(b, in.src[:]...) })
		add(destinationIPv6Address, 16, func(b []byte, in *input) []byte { return append(b, in.dst[:]...) })
	}
	icmpTypeCode := field{icmpTypeCodeIPv4, 2, false, func(b []byte, in *input) []byte { return u16(b, in.icmp) }}
	if s&shapeIPv6 != 0 {
		icmpTypeCode.element = icmpTypeCodeIPv6
	}
	if s&shapeICMP == 0 {
		add(sourceTransportPort, 2, func(b []byte, in *input) []byte { return u16(b, in.srcPort) })
		add(destinationTransportPort, 2, func(b []byte, in *input) []byte { return u16(b, in.dstPort) })
	} else {
		fields = append(fields, icmpTypeCode)
	}
	add(protocolIdentifier, 1, func(b []byte, in *input) []byte { return append(b, in.Protocol) })
	add(ethernetType, 2, func(b []byte, in *input) []byte { return u16(b, etherType(in.Record)) })
	add(flowEndReason, 1, func(b []byte, in *input) []byte { return append(b, endReason(in.EndReason)) })
	add(vlanID, 2, func(b []byte, in *input) []byte { return u16(b, in.VLAN) })
	add(dot1qCustomerVlanID, 2, func(b []byte, in *input) []byte { return u16(b, in.VLANInner) })
	add(ingressInterface, 4, func(b []byte, in *input) []byte { return binary.BigEndian.AppendUint32(b, in.iface) })
	add(sourceMacAddress, 6, func(b []byte, in *input) []byte { return appendMAC(b, in.srcMAC) })
	add(destinationMacAddress, 6, func(b []byte, in *input) []byte { return appendMAC(b, in.dstMAC) })
	add(flowID, 8, func(b []byte, in *input) []byte { return u64(b, in.FlowID) })
	if s&shapeSegment != 0 {
		add(layer2SegmentID, 8, func(b []byte, in *input) []byte { return u64(b, segmentID(in.Record)) })
	}
	counts := len(fields)
	add(packetDeltaCount, 8, func(b []byte, in *input) []byte { return u64(b, in.packets/in.sampled) })
	add(octetDeltaCount, 8, func(b []byte, in *input) []byte { return u64(b, in.octets/in.sampled) })
	add(layer2OctetDeltaCount, 8, func(b []byte, in *input) []byte { return u64(b, in.frames/in.sampled) })
	add(tcpControlBits, 2, func(b []byte, in *input) []byte { return u16(b, uint16(in.flags)) })
	add(ipTTL, 1, func(b []byte, in *input) []byte { return append(b, in.ttl) })
	add(ipClassOfService, 1, func(b []byte, in *input) []byte { return append(b, in.dscp<<2) }) // without the two bits of ECN
	if s&shapeBiflow != 0 {
		back := append([]field{fields[0]}, fields[counts:]...)
		if s&shapeICMP != 0 {
			back = append(back, icmpTypeCode)
		}
		// They stand first: nfdump 1.7 takes the reverse time, flags and ICMP type for those of the flow, and keeps what it read last.
		for i := range back {
			back[i].reverse = true
		}
		fields = append(back, fields...)
		add(biflowDirection, 1, func(b []byte, in *input) []byte {
			if in.InitiatorGuessed {
				return append(b, 0) // arbitrary
			}
			return append(b, 1) // the initiator is the source
		})
	}
	add(applicationName, variable, func(b []byte, in *input) []byte { return appendText(b, in.App, in.text) })
	if s&shapeHTTP != 0 {
		add(httpStatusCode, 2, func(b []byte, in *input) []byte { return u16(b, in.HTTPStatus) })
		add(httpRequestMethod, variable, func(b []byte, in *input) []byte { return appendText(b, in.HTTPMethod, in.text) })
		add(httpRequestHost, variable, func(b []byte, in *input) []byte { return appendText(b, in.HTTPHost, in.text) })
		add(httpRequestTarget, variable, func(b []byte, in *input) []byte { return appendText(b, in.HTTPURI, in.text) })
		add(httpUserAgent, variable, func(b []byte, in *input) []byte { return appendText(b, in.HTTPUserAgent, in.text) })
		add(httpContentType, variable, func(b []byte, in *input) []byte { return appendText(b, in.HTTPContentType, in.text) })
	}
	return fields
}

// texts is the greatest number of texts in a record, and room is what is kept for the rest of it and the headers.
const (
	texts = 6
	room  = 256
)

// appendTemplate appends a template record (RFC 7011, section 3.4.1).
func appendTemplate(b []byte, id uint16, fields []field) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = appendSpecifier(b, f.element, f.size, f.reverse)
	}
	return b
}

func appendSpecifier(b []byte, element, size uint16, reverse bool) []byte {
	if reverse {
		element |= 0x8000
	}
	b = binary.BigEndian.AppendUint16(b, element)
	b = binary.BigEndian.AppendUint16(b, size)
	if reverse {
		b = binary.BigEndian.AppendUint32(b, reversePEN)
	}
	return b
}

// specifier is a field of an options template.
type specifier struct{ element, size uint16 }

// options are the options templates; the first field of each is its scope.
var options = map[uint16][]specifier{
	// The Metering Process Statistics that an exporter knows, and its own (RFC 7011, sections 4.1 and 4.3).
	statisticsTemplate: {{observationDomainID, 4}, {exportedMessageTotalCount, 8}, {exportedFlowRecordTotal, 8}, {exportedOctetTotalCount, 8}},
	processTemplate: {{exportingProcessID, 4}, {notSentFlowTotalCount, 8}, {notSentPacketTotalCount, 8}, {notSentOctetTotalCount, 8},
		{systemInitTimeMilliseconds, 8}},
	interfaceTemplate: {{ingressInterface, 4}, {interfaceName, variable}},
	// RFC 5476, section 6.5.2: 1 packet of each interval + space.
	samplingTemplate: {{selectorID, 8}, {selectorAlgorithm, 2}, {samplingPacketInterval, 4}, {samplingPacketSpace, 4}},
}

// systematicCountBased is the value of selectorAlgorithm for one packet in N (IANA, PSAMP Parameters).
const systematicCountBased = 1

// appendOptions appends an options template record (RFC 7011, section 3.4.2.2).
func appendOptions(b []byte, id uint16) []byte {
	fields := options[id]
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, uint16(len(fields)))
	b = binary.BigEndian.AppendUint16(b, 1) // scope fields
	for _, f := range fields {
		b = appendSpecifier(b, f.element, f.size, false)
	}
	return b
}

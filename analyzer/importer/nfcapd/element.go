package nfcapd

import (
	"encoding/binary"
	"fmt"
)

// flowHeader is the header of a flow record of layout 2, octets; elementHeader
// the type and the size of an element in it, which counts them too (nfxV3.h).
const (
	flowHeader    = 12
	elementHeader = 4
)

// Flags of a flow record of layout 2.
const (
	flagEvent2   = 1
	flagSampled2 = 2
)

// Elements that are read, by their number (nfxV3.h).
const (
	elementFlow      = 1 // times, counters, ports, protocol
	elementIPv4      = 2
	elementIPv6      = 3
	elementMisc      = 4 // interfaces, direction, end
	elementOut       = 5 // counters of the other direction: IE 23 and 24, 232 and 299, RFC 5103
	elementVLAN      = 6
	elementReceived4 = 12 // address that the export came from
	elementReceived6 = 13
	elementMAC       = 15
	elementSampler   = 18
	elementFirewall  = 19 // NSEL
	elementLayer2    = 38
	elementIPInfo    = 42 // TTL
)

// leastElement is how many octets an element has at least behind its header: as far as they are read.
var leastElement = map[uint16]int{elementFlow: 48, elementIPv4: 8, elementIPv6: 32, elementMisc: 15, elementOut: 24, elementVLAN: 8,
	elementReceived4: 4, elementReceived6: 16, elementMAC: 24, elementSampler: 4, elementFirewall: 8, elementLayer2: 2, elementIPInfo: 3}

// elements reads a flow record of layout 2: a header, and elements of any kind and number.
func (f *flowRecord) elements(b []byte) error {
	if len(b) < flowHeader {
		return fmt.Errorf("flow record of %d octets", len(b))
	}
	f.exporter = binary.LittleEndian.Uint16(b[8:])
	f.event, f.sampled, f.version = b[10]&flagEvent2 != 0, b[10]&flagSampled2 != 0, b[11]
	for rest := b[flowHeader:]; len(rest) > 0; {
		size := 0
		if len(rest) >= elementHeader {
			size = int(binary.LittleEndian.Uint16(rest[2:]))
		}
		if size < elementHeader || size > len(rest) {
			return fmt.Errorf("an element of %d octets where its record has %d left", size, len(rest))
		}
		kind := binary.LittleEndian.Uint16(rest)
		if size-elementHeader < leastElement[kind] {
			return fmt.Errorf("element %d of %d octets", kind, size)
		}
		f.element(kind, rest[elementHeader:size])
		rest = rest[size:]
	}
	return nil
}

// element reads one element, of its least size or longer; what it does not know says nothing that a flow has room for.
func (f *flowRecord) element(kind uint16, b []byte) {
	order := binary.LittleEndian
	switch kind {
	case elementFlow:
		f.first, f.last = order.Uint64(b), order.Uint64(b[8:])
		f.Packets, f.Bytes = order.Uint64(b[24:]), order.Uint64(b[32:])
		f.SrcPort, f.DstPort, f.Protocol, f.Flags = order.Uint16(b[40:]), order.Uint16(b[42:]), b[44], b[45]
		f.DSCP = b[47] >> 2
	case elementIPv4:
		f.Src, f.Dst, f.addressed = v4(b), v4(b[4:]), true
	case elementIPv6:
		f.Src, f.Dst, f.addressed = v6(b), v6(b[16:]), true
	case elementMisc:
		f.input = order.Uint32(b)
		f.direction(b[10])
		f.end(b[12], b[13])
		f.RevFlags = b[14] // up to 1.7.4, later 0
	case elementOut:
		f.RevPackets, f.RevBytes = order.Uint64(b[8:]), order.Uint64(b[16:])
	case elementVLAN:
		f.vlan(order.Uint32(b), order.Uint32(b[4:]))
	case elementReceived4:
		f.router = v4(b)
	case elementReceived6:
		f.router = v6(b)
	case elementMAC:
		f.srcMAC, f.outMAC, f.dstMAC = order.Uint64(b), order.Uint64(b[8:]), order.Uint64(b[16:])
	case elementSampler:
		if len(b) >= 16 { // the sampler's id has 64 bits, as IPFIX 302
			f.samplerID = int64(order.Uint64(b))
		} else {
			f.samplerID = int64(int32(order.Uint32(b)))
		}
	case elementFirewall:
		f.happened = order.Uint64(b)
	case elementLayer2:
		f.vlan(uint32(order.Uint16(b)), 0)
	case elementIPInfo:
		f.TTL = b[2]
	}
}

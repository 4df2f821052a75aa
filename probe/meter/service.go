package meter

import (
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// services ranks ports by how likely a server listens on them: 2 well known,
// 1 reserved (below 1024, RFC 6335), 0 any other.
type services [1 << 16]uint8

// Well-known ports of services that Tapwatch's users meet (IANA registry, and
// common use for 8000 and up).
var wellKnown = [...]uint16{
	20, 21, 22, 23, 25, 43, 53, 67, 69, 79, 80, 81, 88, 102, 110, 111, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179,
	389, 443, 445, 464, 465, 500, 502, 514, 515, 520, 543, 546, 547, 548, 554, 563, 587, 593, 614, 623, 631, 636, 853, 873,
	902, 989, 990, 992, 993, 995, 1080, 1194, 1433, 1434, 1521, 1645, 1646, 1723, 1812, 1813, 1883, 2049, 2055, 2123, 2152, 2404,
	3128, 3268, 3269, 3306, 3389, 3478, 3544, 4500, 4739, 4789, 5060, 5061, 5072, 5222, 5223, 5269, 5353, 5355, 5432, 5672, 5800, 5900,
	5938, 5985, 5986, 6081, 6343, 6379, 6443, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6667, 6668, 6669, 6697, 8000, 8008, 8080,
	8081, 8088, 8123, 8333, 8443, 8883, 8888, 9000, 9042, 9092, 9200, 9300, 9418, 9999, 11211, 20000, 27017, 44818, 47808, 51820,
}

func newServices() *services {
	s := new(services)
	for p := 1; p < 1024; p++ {
		s[p] = 1
	}
	for _, p := range wellKnown {
		s[p] = 2
	}
	return s
}

// backwards guesses whether the first packet seen of a flow was sent by the
// responder.
func (s *services) backwards(p *decode.Packet) bool {
	src, dst := s[p.SrcPort], s[p.DstPort]
	switch p.Protocol {
	case flow.ProtoTCP:
		switch p.Flags & (flagSYN | flagACK) {
		case flagSYN:
			return false
		case flagSYN | flagACK:
			// Whoever sends it answers, but for a scan with SYN-ACKs, which
			// goes from any port to a service.
			return src >= dst
		}
		return src > dst || src == dst && src > 0 && p.SrcPort < p.DstPort
	case flow.ProtoUDP, flow.ProtoSCTP:
		return src > dst && unicast(&p.Dst)
	}
	return false
}

// unicast: neither multicast (RFC 1112, RFC 4291) nor the limited broadcast.
func unicast(a *flow.Addr) bool {
	if a.Is4() {
		return a[12] < 224
	}
	return a[0] != 0xff
}

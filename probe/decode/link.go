package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Link types beyond those that capture names (tcpdump.org/linktypes.html).
const (
	linkRawBSD     = 12
	linkRawOpenBSD = 14
	linkPPPEther   = 51
	linkPPPHDLC    = 50
	linkCiscoHDLC  = 104
	linkPrism      = 119
	linkAVS        = 163
	linkPPPPPPD    = 166
	linkPPI        = 192
	linkPPPWithDir = 204
)

// link reads the link layer of type typ.
func (d *Decoder) link(typ uint16, l *layer, p *Packet) Verdict {
	switch typ {
	case capture.LinkEthernet:
		return d.ethernet(l, p)
	case capture.LinkIEEE80211:
		return d.wifi(l, p)
	case capture.LinkRadiotap:
		return d.radiotap(l, p)
	case linkPrism, linkAVS:
		return d.prism(l, p)
	case linkPPI:
		return d.ppi(l, p)
	case linkPPPPPPD, linkPPPWithDir: // 0 or 1 for the direction, in place of the address 0xff or before it
		if len(l.b) < 2 {
			return short(2, l.wire)
		}
		if l.b[0] <= 1 {
			l.skip(1)
			if l.b[0] == 3 {
				l.skip(1)
			}
		}
		return d.ppp(l, p)
	case capture.LinkRaw, capture.LinkIPv4, capture.LinkIPv6, linkRawBSD, linkRawOpenBSD:
		return d.raw(l, p)
	case capture.LinkNull, capture.LinkLoop:
		return d.loopback(l, p)
	case capture.LinkPPP, linkPPPHDLC:
		return d.ppp(l, p)
	case linkPPPEther:
		return d.pppoe(l, p)
	case linkCiscoHDLC:
		if len(l.b) < 4 {
			return short(4, l.wire)
		}
		et := binary.BigEndian.Uint16(l.b[2:])
		l.skip(4)
		return d.ether(et, l, p)
	case capture.LinkLinuxSLL:
		return d.cooked(l, p)
	case capture.LinkLinuxSLL2:
		return d.cooked2(l, p)
	case capture.LinkNFLog:
		return d.nflog(l, p)
	}
	return LinkType
}

// raw reads an IP packet whose version is in its first nibble.
func (d *Decoder) raw(l *layer, p *Packet) Verdict {
	if len(l.b) < 1 {
		return short(1, l.wire)
	}
	switch l.b[0] >> 4 {
	case 4:
		return d.ipv4(l, p)
	case 6:
		return d.ipv6(l, p)
	}
	return NonIP
}

// loopback reads BSD's four octets of address family, in the byte order of
// the machine that captured (LINKTYPE_NULL) or big endian (LINKTYPE_LOOP). The
// families fit into one octet, so that both orders can be taken.
func (d *Decoder) loopback(l *layer, p *Packet) Verdict {
	if len(l.b) < 4 {
		return short(4, l.wire)
	}
	family := binary.BigEndian.Uint32(l.b)
	if family > 0xffff {
		family = binary.LittleEndian.Uint32(l.b)
	}
	l.skip(4)
	switch family {
	case 2: // AF_INET everywhere
		return d.ipv4(l, p)
	case 10, 23, 24, 28, 30: // AF_INET6 of Linux, Windows, NetBSD, FreeBSD, Darwin
		return d.ipv6(l, p)
	}
	return d.raw(l, p) // numbers of rarer systems: the packet's own version decides
}

// Hardware types of a cooked frame whose protocol field is no EtherType.
const (
	arphrdNetlink  = 824
	arphrdGRE      = 778
	arphrdRadiotap = 803
	arphrdFRAD     = 770
)

// cooked reads Linux's SLL header: packet type, hardware type, address length,
// 8 octets of address, protocol.
func (d *Decoder) cooked(l *layer, p *Packet) Verdict {
	if len(l.b) < 16 {
		return short(16, l.wire)
	}
	be := binary.BigEndian
	hw, n, proto := be.Uint16(l.b[2:]), be.Uint16(l.b[4:]), be.Uint16(l.b[14:])
	if n == 6 {
		p.SrcMAC = flow.MACFrom(l.b[6:])
	}
	l.skip(16)
	return d.cookedBody(hw, proto, l, p)
}

// cooked2 reads SLL2: protocol, reserved, interface index, hardware type,
// packet type, address length, 8 octets of address.
func (d *Decoder) cooked2(l *layer, p *Packet) Verdict {
	if len(l.b) < 20 {
		return short(20, l.wire)
	}
	be := binary.BigEndian
	proto, hw := be.Uint16(l.b), be.Uint16(l.b[8:])
	if l.b[11] == 6 {
		p.SrcMAC = flow.MACFrom(l.b[12:])
	}
	l.skip(20)
	return d.cookedBody(hw, proto, l, p)
}

func (d *Decoder) cookedBody(hw, proto uint16, l *layer, p *Packet) Verdict {
	switch hw {
	case arphrdNetlink, arphrdRadiotap, arphrdFRAD:
		return NonIP
	case arphrdGRE:
		if proto != iana.EtherIPv4 && proto != iana.EtherIPv6 {
			return NonIP
		}
	}
	switch proto {
	case 1: // Novell's 802.3 without 802.2
		return NonIP
	case 4: // an 802.2 header follows
		return d.ether(0, l, p)
	}
	if proto <= iana.EtherMaxLength { // Linux's own small numbers: CAN and the like
		return NonIP
	}
	return d.ether(proto, l, p)
}

// nflogPayload is the attribute that holds the packet.
const nflogPayload = 9

// nflog reads a netfilter log message: family, version, group, then
// attributes in the byte order of the capturing machine, of which all that
// matter here are little endian.
func (d *Decoder) nflog(l *layer, p *Packet) Verdict {
	if len(l.b) < 4 {
		return short(4, l.wire)
	}
	family := l.b[0]
	l.skip(4)
	for ; l.depth > 0 && len(l.b) >= 4; l.depth-- {
		n := int(binary.LittleEndian.Uint16(l.b))
		typ := binary.LittleEndian.Uint16(l.b[2:]) & 0x7fff
		if n < 4 {
			return Malformed
		}
		if typ == nflogPayload {
			l.wire = min(l.wire, n) - 4
			l.b = l.b[4:min(n, len(l.b))]
			switch family {
			case 2, 10, 0:
				return d.raw(l, p)
			}
			return NonIP
		}
		n = (n + 3) &^ 3
		if n > len(l.b) {
			return short(n, l.wire)
		}
		l.skip(n)
	}
	return NonIP
}

package capture

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
)

// linkHeader says what the link-layer header of data announces, as layersHash
// takes it, and where that begins; nextEnd for link types without IP and for
// headers that are cut.
func linkHeader(link uint16, data []byte) (next uint32, at int) {
	switch link {
	case LinkEthernet:
		return iana.EtherTEB, 0
	case LinkRaw, LinkIPv4, LinkIPv6, 12, 14:
		return nextRaw, 0
	case LinkNull, LinkLoop: // the packet's own version says the same as the family
		return nextRaw, 4
	case LinkPPP, 50: // 50: PPP in HDLC framing
		return iana.EtherPPP, 0
	case 51: // PPPoE without Ethernet
		return iana.EtherPPPoE, 0
	case 104: // Cisco HDLC
		return typeAt(data, 2), 4
	case LinkLinuxSLL:
		return cookedType(typeAt(data, 14)), 16
	case LinkLinuxSLL2:
		return cookedType(typeAt(data, 0)), 20
	case LinkNFLog:
		return nflogHeader(data)
	case LinkIEEE80211:
		return wifiHeader(data, 0)
	case LinkRadiotap:
		if len(data) >= 4 {
			return wifiHeader(data, int(binary.LittleEndian.Uint16(data[2:])))
		}
	}
	return nextEnd, 0
}

func typeAt(data []byte, at int) uint32 {
	if len(data) < at+2 {
		return nextEnd
	}
	return uint32(binary.BigEndian.Uint16(data[at:]))
}

// cookedType leaves out Linux's own small numbers but that of 802.2, which
// stand in the place of an EtherType.
func cookedType(t uint32) uint32 {
	if t <= iana.EtherMaxLength && t != 4 {
		return nextEnd
	}
	return t
}

// nflogHeader finds the packet among the attributes of a netfilter log message.
func nflogHeader(data []byte) (next uint32, at int) {
	const payload = 9 // NFULA_PAYLOAD
	at = 4
	for range hashLayers {
		if len(data) < at+4 {
			break
		}
		n, typ := int(binary.LittleEndian.Uint16(data[at:])), binary.LittleEndian.Uint16(data[at+2:])&0x7fff
		if typ == payload {
			return nextRaw, at + 4
		}
		if n < 4 {
			break
		}
		at += (n + 3) &^ 3
	}
	return nextEnd, 0
}

// wifiHeader finds the LLC header of a plain 802.11 data frame (IEEE 802.11
// section 9.3.2) that begins at octet at.
func wifiHeader(data []byte, at int) (uint32, int) {
	if len(data) < at+24 {
		return nextEnd, 0
	}
	control, flags := data[at], data[at+1]
	if control&0x0c != 0x08 || control&0x40 != 0 || flags&0x40 != 0 { // data, with a body, not encrypted
		return nextEnd, 0
	}
	n := 24
	if flags&3 == 3 { // between two access points: a fourth address
		n += 6
	}
	if control&0x80 != 0 { // quality of service
		n += 2
		if flags&0x80 != 0 { // HT control
			n += 4
		}
	}
	return 0, at + n
}

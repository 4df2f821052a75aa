package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// maxLayers bounds headers of the link layer and tunnels in one frame. Real
// stacks stay below ten (two tags, three labels, one tunnel).
const maxLayers = 24

// Config sets what a Decoder does beyond the outermost IP packet.
type Config struct {
	// OuterOnly leaves tunnels closed: the flow is that of the tunnel's ends.
	OuterOnly bool
	// Fragments is the number of fragmented datagrams remembered at a time,
	// rounded up to a power of two. 0 means 4096 (about 350 kB).
	Fragments int
	// FragmentBytes bounds the memory for datagrams that are being put
	// together, in octets. 0 means 4 MiB; below 0 nothing is put together.
	FragmentBytes int
}

// DefaultConfig opens tunnels, remembers 4096 fragmented datagrams and puts
// them together in up to 4 MiB.
func DefaultConfig() Config { return Config{Fragments: 4096, FragmentBytes: 4 << 20} }

// Decoder decodes frames. It belongs to one goroutine.
type Decoder struct {
	outerOnly bool
	general   bool // tests: never the fast path
	frags     fragments
	tunnels   uint  // opened so far
	rest      layer // here and not on the stack: it is passed through function values
	whole     layer // of a datagram that fragments have made whole
}

// New returns a Decoder for one worker.
func New(cfg Config) *Decoder {
	if cfg.Fragments <= 0 {
		cfg.Fragments = DefaultConfig().Fragments
	}
	if cfg.FragmentBytes == 0 {
		cfg.FragmentBytes = DefaultConfig().FragmentBytes
	}
	return &Decoder{outerOnly: cfg.OuterOnly, frags: newFragments(cfg.Fragments, cfg.FragmentBytes)}
}

// Stats returns the counts since New.
func (d *Decoder) Stats() Stats {
	s, a := d.frags.stats, &d.frags.assembly
	s.FragmentsPending = uint64(a.pending)
	s.FragmentsHeldBytes = uint64(len(a.slabs)*slabBlocks*blockSize + cap(a.datagrams)*datagramSize + cap(a.free)*2 + cap(a.out))
	return s
}

// layer is the part of a frame still to be read.
type layer struct {
	b     []byte // captured octets
	wire  int    // octets on the wire, len(b) or more unless the file contradicts itself
	depth int    // headers left before the frame is given up
}

// skip moves past n captured octets.
func (l *layer) skip(n int) {
	l.b = l.b[n:]
	l.wire -= n
}

// trim leaves n octets on the wire, if there were more.
func (l *layer) trim(n int) {
	if n = max(n, 0); n < l.wire {
		l.wire = n
		l.b = l.b[:min(n, len(l.b))]
	}
}

// Decode fills p from f and returns OK, or the reason why the frame belongs to
// no flow; p is then undefined but for Time and FrameLen. A tunnel whose
// inside does not decode yields the packet that carries it.
func (d *Decoder) Decode(f *capture.Frame, p *Packet) Verdict {
	if f.LinkType == capture.LinkEthernet && !d.general && fast(f, p) {
		return OK
	}
	p.reset(f)
	l := &d.rest
	*l = layer{b: f.Data, wire: max(int(f.Len), len(f.Data)), depth: maxLayers}
	return d.link(f.LinkType, l, p)
}

const (
	etherHeader     = 14
	etherVLANHeader = 4
)

func (d *Decoder) ethernet(l *layer, p *Packet) Verdict {
	if len(l.b) < etherHeader {
		return short(etherHeader, l.wire)
	}
	if p.Tunnel == flow.TunnelNone {
		p.DstMAC, p.SrcMAC = flow.MACFrom(l.b), flow.MACFrom(l.b[6:])
	}
	et := binary.BigEndian.Uint16(l.b[12:])
	l.skip(etherHeader)
	return d.ether(et, l, p)
}

// ether reads what follows an EtherType (or the length that stands in its place).
func (d *Decoder) ether(et uint16, l *layer, p *Packet) Verdict {
	for ; l.depth > 0; l.depth-- {
		switch et {
		case iana.EtherIPv4:
			return d.ipv4(l, p)
		case iana.EtherIPv6:
			return d.ipv6(l, p)
		case iana.EtherVLAN, iana.EtherQinQ, iana.EtherQinQOld:
			if len(l.b) < etherVLANHeader {
				return short(etherVLANHeader, l.wire)
			}
			if p.Tunnel == flow.TunnelNone {
				id := binary.BigEndian.Uint16(l.b) & 0xfff
				if p.VLAN == 0 {
					p.VLAN = id
				} else if p.VLANInner == 0 {
					p.VLANInner = id
				}
			}
			et = binary.BigEndian.Uint16(l.b[2:])
			l.skip(etherVLANHeader)
		case iana.EtherMPLS, iana.EtherMPLSUp:
			return d.mpls(l, p)
		case iana.EtherPPPoE:
			return d.pppoe(l, p)
		case iana.EtherPPP:
			return d.ppp(l, p)
		case iana.EtherARP, iana.EtherRARP:
			return d.arp(l, p)
		case iana.EtherTEB:
			return d.ethernetAfter(0, l, p)
		case iana.EtherFabricPath: // two octets of tag, then the frame
			return d.ethernetAfter(2, l, p)
		case iana.EtherPBB: // flags and service identifier, then the frame
			return d.ethernetAfter(4, l, p)
		case iana.EtherTRILL:
			if len(l.b) < 2 {
				return short(6, l.wire)
			}
			return d.ethernetAfter(6+4*int(l.b[0]&7<<2|l.b[1]>>6), l, p)
		case iana.EtherNSH:
			return d.nsh(l, p)
		case iana.EtherMACsec:
			next, v := macsec(l)
			if v != OK {
				return v
			}
			et = next
		case iana.EtherSGT, iana.EtherHSR, iana.EtherVNTag, iana.EtherBridgePort:
			n := tagLength(et)
			if len(l.b) < n {
				return short(n, l.wire)
			}
			et = binary.BigEndian.Uint16(l.b[n-2:])
			l.skip(n)
		default:
			if et > iana.EtherMaxLength {
				return NonIP
			}
			if et > 0 { // the length without padding
				l.trim(int(et))
			}
			next, v := llc(l)
			if v != OK {
				return v
			}
			et = next
		}
	}
	return Unsupported
}

// ethernetAfter reads an Ethernet frame within one, behind n octets.
func (d *Decoder) ethernetAfter(n int, l *layer, p *Packet) Verdict {
	if len(l.b) < n {
		return short(n, l.wire)
	}
	l.skip(n)
	if l.depth--; l.depth <= 0 {
		return Unsupported
	}
	return d.ethernet(l, p)
}

// tagLength is the number of octets from an EtherType of a tag to behind the next EtherType.
func tagLength(et uint16) int {
	if et == iana.EtherBridgePort || et == iana.EtherSGT {
		return 8
	}
	return 6
}

// macsec reads a security tag (IEEE 802.1AE section 9) before data that is
// authenticated but not encrypted.
func macsec(l *layer) (uint16, Verdict) {
	const (
		sci       = 0x20 // 8 octets of channel identifier follow
		encrypted = 0x08
		changed   = 0x04
		check     = 16 // octets at the end, of the default cipher suites
	)
	if len(l.b) < 6 {
		return 0, short(6, l.wire)
	}
	if l.b[0]&(encrypted|changed) != 0 {
		return 0, NonIP
	}
	n := 6
	if l.b[0]&sci != 0 {
		n += 8
	}
	if len(l.b) < n+2 {
		return 0, short(n+2, l.wire)
	}
	size := l.wire - check
	if short := int(l.b[1] & 0x3f); short != 0 {
		size = n + short
	}
	if size < n+2 {
		return 0, Malformed
	}
	l.trim(size)
	if len(l.b) < n+2 {
		return 0, Malformed
	}
	et := binary.BigEndian.Uint16(l.b[n:])
	l.skip(n + 2)
	return et, OK
}

// llc reads an IEEE 802.2 header, with SNAP (RFC 1042), and returns the
// EtherType it stands for.
func llc(l *layer) (uint16, Verdict) {
	if len(l.b) < 3 {
		return 0, short(3, l.wire)
	}
	switch {
	case l.b[0] == 0xaa && l.b[1] == 0xaa && l.b[2] == 3: // SNAP
		if len(l.b) < 8 {
			return 0, short(8, l.wire)
		}
		et := binary.BigEndian.Uint16(l.b[6:])
		oui := uint32(l.b[3])<<16 | uint32(l.b[4])<<8 | uint32(l.b[5])
		if oui != 0 && oui != 0xf8 || et <= iana.EtherMaxLength { // 0000f8: bridged Ethernet
			return 0, NonIP
		}
		l.skip(8)
		return et, OK
	case l.b[0] == 6 && l.b[1] == 6 && l.b[2] == 3: // IP by its own SAP
		l.skip(3)
		return iana.EtherIPv4, OK
	}
	return 0, NonIP
}

package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/capture"
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
	// rounded up to a power of two. 0 means 4096 (about 300 kB).
	Fragments int
}

// DefaultConfig opens tunnels and remembers 4096 fragmented datagrams.
func DefaultConfig() Config { return Config{Fragments: 4096} }

// Decoder decodes frames. It belongs to one goroutine.
type Decoder struct {
	outerOnly bool
	frags     fragments
	rest      layer // here and not on the stack: it is passed through function values
}

// New returns a Decoder for one worker.
func New(cfg Config) *Decoder {
	if cfg.Fragments <= 0 {
		cfg.Fragments = DefaultConfig().Fragments
	}
	return &Decoder{outerOnly: cfg.OuterOnly, frags: newFragments(cfg.Fragments)}
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

// Decode fills p from f and returns OK, or the reason why the frame belongs to
// no flow; p is then undefined but for Time and FrameLen. A tunnel whose
// inside does not decode yields the packet that carries it.
func (d *Decoder) Decode(f *capture.Frame, p *Packet) Verdict {
	*p = Packet{Time: f.Time, FrameLen: f.Len}
	l := &d.rest
	*l = layer{b: f.Data, wire: max(int(f.Len), len(f.Data)), depth: maxLayers}
	if f.LinkType == capture.LinkEthernet {
		return d.ethernet(l, p)
	}
	return d.link(f.LinkType, l, p)
}

// EtherTypes (IANA, IEEE 802).
const (
	etherIPv4       = 0x0800
	etherIPv6       = 0x86dd
	etherVLAN       = 0x8100
	etherQinQ       = 0x88a8
	etherQinQOld    = 0x9100
	etherTEB        = 0x6558 // transparent Ethernet bridging (RFC 1701)
	etherMPLS       = 0x8847
	etherMPLSUp     = 0x8848
	etherPPP        = 0x880b
	etherPPPoE      = 0x8864
	etherFabricPath = 0x8903 // Cisco
	etherERSPAN     = 0x88be
	etherERSPAN3    = 0x22eb
	etherMaxLength  = 1500 // smaller values are the length of an 802.3 frame
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
		case etherIPv4:
			return d.ipv4(l, p)
		case etherIPv6:
			return d.ipv6(l, p)
		case etherVLAN, etherQinQ, etherQinQOld:
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
		case etherMPLS, etherMPLSUp:
			return d.mpls(l, p)
		case etherPPPoE:
			return d.pppoe(l, p)
		case etherPPP:
			return d.ppp(l, p)
		case etherFabricPath: // two octets of tag, then the frame
			if len(l.b) < 2 {
				return short(2, l.wire)
			}
			l.skip(2)
			l.depth--
			return d.ethernet(l, p)
		case etherTEB:
			l.depth--
			return d.ethernet(l, p)
		default:
			if et > etherMaxLength {
				return NonIP
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
		if oui != 0 && oui != 0xf8 || et <= etherMaxLength { // 0000f8: bridged Ethernet
			return 0, NonIP
		}
		l.skip(8)
		return et, OK
	case l.b[0] == 6 && l.b[1] == 6 && l.b[2] == 3: // IP by its own SAP
		l.skip(3)
		return etherIPv4, OK
	}
	return 0, NonIP
}

// Package decode turns one captured frame into a Packet: link layer, VLAN tags,
// tunnels, IP with its options, extension headers and fragments, and the
// transport header. A capture.Frame comes in, a reused Packet goes out; its
// Payload points into the frame, or into a buffer of the Decoder where fragments
// have made it whole, and is valid until the next call. Nothing is allocated
// per packet. One Decoder belongs to one goroutine.
//
// Nearly all frames take the fast path (fast.go). For the others, one file per
// layer: link.go, wifi.go, ppp.go, mpls.go, arp.go, ip.go, fragment.go with
// assembly.go, transport.go, quote.go, tunnel.go (over IP) and tunnel_udp.go.
// A tunnel is opened when what is inside can be read; if not, the packet is
// that of the tunnel's ends. Checksums are not looked at: a mirror sees packets
// before the card has filled them in.
package decode

import (
	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TCP flag bits as in the header (RFC 9293, RFC 3168).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Packet is the decoded innermost packet of one frame. Counters take their
// values from the headers, not from what was captured. A Packet is to be reused
// for the next frame, or to start as zero: Decode knows what it left in it.
//
// The fields that every packet has come first and fill two cache lines.
type Packet struct {
	Time     int64 // ns since the Unix epoch, UTC
	Src, Dst flow.Addr

	FrameLen uint32 // octets of the whole frame on the wire
	// IPLen is the IP octets with header, from the header. It is at most what
	// the frame had room for, unless the packet came in a tunnel whose packets
	// were fragmented: then the piece that completes the tunnel's packet is
	// the whole packet inside, and the pieces before it are of the tunnel.
	IPLen      uint32
	PayloadLen uint32 // octets above the transport header, from the headers

	SrcPort, DstPort uint16 // ICMP: type and code, both in the order of the header
	Protocol         uint8
	TOS, TTL         uint8

	Flags uint8 // TCP only, as are Seq, Ack, Window and MSS

	Tunnel flow.Tunnel
	// Fragment is true for every piece of a fragmented datagram; a later
	// piece takes its ports from the first, and has ports 0 if that was not
	// seen before it.
	Fragment bool
	// Bare means that ports may be known but the rest of the transport header
	// is not: a later fragment, a header captured in part, or one that
	// contradicts itself. Flags, Seq, Ack, Window and ICMPID say nothing then
	// (but see Reassembled for Seq).
	Bare bool
	// FragmentPending is true for a piece that is kept until the rest of its
	// datagram arrives: what it carries comes again in Reassembled or as the
	// packet in a tunnel, so that whoever reads contents leaves Payload alone. If the rest never arrives
	// the contents are not seen; the counters are not concerned.
	FragmentPending bool

	// Second cache line.

	Seq, Ack uint32
	Payload  []byte // what was captured of the payload; nil when Bare

	SrcMAC, DstMAC  flow.MAC // of the outermost frame; 802.11: source and destination, not the radios between
	VLAN, VLANInner uint16   // 0 none; of the outermost frame
	TunnelID        uint32   // label, key, VNI, VSID, session or TEID; 0 none, and for L2TP and PPTP, where it differs by direction
	Window          uint16
	MSS             uint16 // from the options of a SYN, 0 none

	// EtherType is 0 for IP, and 0x0806 for ARP and RARP: Src and Dst are then
	// the sender's and target's protocol addresses, SrcPort the operation (3
	// and 4 are RARP's), DstPort and Protocol 0, IPLen the octets of the ARP
	// packet.
	EtherType uint16
	// ICMPID is the identifier of an echo-like message, 0 none.
	ICMPID uint16

	// What few packets have. Unset (zero) in all others.

	// OuterSrc and OuterDst are the addresses of the outermost IP header of a
	// tunnelled packet; unset where there is no tunnel over IP.
	OuterSrc, OuterDst flow.Addr
	// Quoted is the packet that an ICMP error quotes (RFC 792, RFC 4443,
	// section 2.4), in the direction in which that packet went.
	Quoted Quoted
	// Reassembled is set in the piece that completes a fragmented TCP, UDP,
	// ICMP or ICMPv6 datagram: the whole payload above the transport header,
	// empty but not nil if there is none. It is valid until the next call of
	// Decode. With TCP, Seq is then that of the whole segment, even in a
	// later piece, which is Bare.
	Reassembled []byte

	rare bool // one of OuterSrc, OuterDst, Quoted, Reassembled may be set
}

// Quoted is the flow key of a packet that an ICMP error quotes. Protocol 0: no
// error, or its quote is too short. Of a tunnelled packet it is the outer
// header, which is what the error is about.
type Quoted struct {
	Src, Dst         flow.Addr
	SrcPort, DstPort uint16 // 0 where the quote does not have them; ICMP: type and code
	Protocol         uint8
	ICMPID           uint16 // as of Packet
}

// Whole returns what an inspector of contents should read: p, or, if p completes
// a datagram, that datagram as one packet, for which room is overwritten. nil
// means nothing: p waits for the rest of its datagram.
func (p *Packet) Whole(room *Packet) *Packet {
	if p.FragmentPending {
		return nil
	}
	if p.Reassembled == nil {
		return p
	}
	*room = *p
	room.Payload, room.PayloadLen = p.Reassembled, uint32(len(p.Reassembled))
	room.Fragment, room.Bare = false, false
	return room
}

// reset empties p for frame f. Field by field: the compiler would make a
// whole Packet on the stack and copy it.
func (p *Packet) reset(f *capture.Frame) {
	p.Time, p.FrameLen = f.Time, f.Len
	p.IPLen, p.PayloadLen, p.SrcPort, p.DstPort = 0, 0, 0, 0
	p.Protocol, p.TOS, p.TTL, p.Flags = 0, 0, 0, 0
	p.Tunnel, p.Fragment, p.Bare, p.FragmentPending = 0, false, false, false
	p.Src, p.Dst = flow.Addr{}, flow.Addr{}
	p.Seq, p.Ack, p.Payload = 0, 0, nil
	p.SrcMAC, p.DstMAC, p.VLAN, p.VLANInner, p.TunnelID = 0, 0, 0, 0, 0
	p.Window, p.MSS, p.EtherType, p.ICMPID = 0, 0, 0, 0
	if p.rare {
		p.resetRare()
	}
}

func (p *Packet) resetRare() {
	p.OuterSrc, p.OuterDst, p.Quoted, p.Reassembled, p.rare = flow.Addr{}, flow.Addr{}, Quoted{}, nil, false
}

// Package decode turns one captured frame into a Packet: link layer, VLAN tags,
// tunnels, IP with its options, extension headers and fragments, and the
// transport header. A capture.Frame comes in, a reused Packet goes out; its
// Payload points into the frame and is valid until the next call. Nothing is
// allocated per packet. One Decoder belongs to one goroutine.
package decode

import "github.com/tapwatch/tapwatch/proto/flow"

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
// values from the headers, not from what was captured.
type Packet struct {
	Time     int64  // ns since the Unix epoch, UTC
	FrameLen uint32 // octets of the whole frame on the wire

	VLAN, VLANInner uint16 // 0 none; of the outermost frame
	Tunnel          flow.Tunnel
	TunnelID        uint32   // label, key, VNI or TEID; 0 none
	SrcMAC, DstMAC  flow.MAC // of the outermost frame

	// OuterSrc and OuterDst are the addresses of the outermost IP header of a
	// tunnelled packet; unset where there is no tunnel over IP.
	OuterSrc, OuterDst flow.Addr

	// EtherType is 0 for IP, and 0x0806 for ARP: Src and Dst are then the
	// sender's and target's protocol addresses, SrcPort the operation, DstPort
	// and Protocol 0, IPLen the octets of the ARP packet.
	EtherType        uint16
	Src, Dst         flow.Addr
	SrcPort, DstPort uint16 // ICMP: type and code, both in the order of the header
	Protocol         uint8
	TOS, TTL         uint8
	IPLen            uint32 // IP octets with header, from the header, at most what the frame had room for
	PayloadLen       uint32 // octets above the transport header, from the headers
	Payload          []byte // what was captured of them; nil when Bare

	// TCP only.
	Flags    uint8
	Seq, Ack uint32
	Window   uint16
	MSS      uint16 // from the options of a SYN, 0 none

	// ICMPID is the identifier of an echo-like message, 0 none.
	ICMPID uint16
	// Quoted is the packet that an ICMP error quotes (RFC 792, RFC 4443,
	// section 2.4), in the direction in which that packet went.
	Quoted Quoted
	// Fragment is true for every piece of a fragmented datagram; a later
	// piece takes its ports from the first, and has ports 0 if that was not
	// seen before it.
	Fragment bool
	// Bare means that ports may be known but the rest of the transport header
	// is not: a later fragment, a header captured in part, or one that
	// contradicts itself. Flags, Seq, Ack, Window and ICMPID say nothing then.
	Bare bool
}

// Quoted is the flow key of a packet that an ICMP error quotes. Protocol 0: no
// error, or its quote is too short.
type Quoted struct {
	Src, Dst         flow.Addr
	SrcPort, DstPort uint16 // 0 where the quote does not have them; ICMP: type and code
	Protocol         uint8
	ICMPID           uint16 // as of Packet
}

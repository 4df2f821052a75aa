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
	// Fragment is true for every piece of a fragmented datagram; a later
	// piece takes its ports from the first, and has ports 0 if that was not
	// seen before it.
	Fragment bool
	// Bare means that ports may be known but the rest of the transport header
	// is not: a later fragment, a header captured in part, or one that
	// contradicts itself. Flags, Seq, Ack, Window and ICMPID say nothing then.
	Bare bool
}

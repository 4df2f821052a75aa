package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// RTP (RFC 3550) has no sign of its own: two packets of one direction with one
// source and numbers that follow each other are taken for it.
func rtpProtocol() protocol {
	return protocol{app: "rtp", stream: looksRTPStream, datagram: looksRTP, message: (*Inspector).rtpMessage}
}

// RTCP is told by a chain of reports that ends with the datagram.
func rtcpProtocol() protocol {
	return protocol{app: "rtcp", datagram: func(b []byte, _ *hint) bool { return looksRTCP(b) }}
}

const (
	rtpHeader = 12
	// rtpGap is how far the sequence numbers of two packets of one source may
	// lie apart.
	rtpGap = 16
	// srtcpTrailer is what SRTCP adds: a bit that says encrypted, a counter, and
	// a tag of 80 bits (RFC 3711, section 3.4).
	srtcpTrailer = 14
)

// rtpNames are payload types (RFC 3551, section 6).
var rtpNames = map[uint8]string{0: "PCMU", 3: "GSM", 4: "G723", 5: "DVI4", 6: "DVI4", 7: "LPC", 8: "PCMA", 9: "G722", 10: "L16", 11: "L16", 12: "QCELP",
	13: "CN", 14: "MPA", 15: "G728", 16: "DVI4", 17: "DVI4", 18: "G729", 25: "CelB", 26: "JPEG", 28: "nv", 31: "H261", 32: "MPV", 33: "MP2T", 34: "H263"}

func looksRTP(b []byte, h *hint) bool {
	if !rtpLike(b) || h.ports[0] < 1024 || h.ports[1] < 1024 {
		return false
	}
	seq, ssrc := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[8:])
	now := 1<<63 | uint64(seq)<<32 | uint64(ssrc)
	before := *h.note
	*h.note = now
	if before == 0 || ssrc == 0 || uint32(before) != ssrc {
		return false
	}
	gap := seq - uint16(before>>32)
	return gap > 0 && gap <= rtpGap
}

// looksRTPStream wants two packets with their lengths (RFC 4571).
func looksRTPStream(b []byte, h *hint) verdict {
	if h.ports[0] < 1024 || h.ports[1] < 1024 {
		return no
	}
	if len(b) < 4 {
		if len(b) > 2 && b[2]>>6 != 2 || len(b) > 0 && b[0] > 7 {
			return no
		}
		return undecided
	}
	size := int(binary.BigEndian.Uint16(b))
	kind := b[3] & 0x7f
	if _, known := rtpNames[kind]; b[2] != 0x80 && b[2] != 0x90 || !known && kind < 96 || size <= rtpHeader || size > strangers/2 {
		return no
	}
	if len(b) < 2+size+2+rtpHeader {
		return undecided
	}
	first, second := b[2:2+size], b[2+size+2:]
	if rtpLike(first) && rtpLike(second) && string(first[8:12]) == string(second[8:12]) && binary.BigEndian.Uint16(second[2:])-binary.BigEndian.Uint16(first[2:]) == 1 {
		return yes
	}
	return no
}

// rtpLike checks what the header fixes: version 2, a payload type in use, room
// for contributing sources and the extension.
func rtpLike(b []byte) bool {
	if len(b) < rtpHeader+1 || b[0]>>6 != 2 {
		return false
	}
	kind := b[1] & 0x7f
	if _, known := rtpNames[kind]; !known && kind < 96 || kind >= 72 && kind <= 76 {
		return false
	}
	size := rtpHeader + 4*int(b[0]&15)
	if b[0]&0x10 != 0 {
		if len(b) < size+4 {
			return false
		}
		size += 4 + 4*int(binary.BigEndian.Uint16(b[size+2:]))
	}
	return len(b) > size
}

func looksRTCP(b []byte) bool {
	if len(b) < 8 || b[0]>>6 != 2 || b[1] != 200 && b[1] != 201 {
		return false
	}
	if at := len(b) - srtcpTrailer; at >= 8 && b[at] == 0x80 && b[at+1] == 0 && 4+4*int(binary.BigEndian.Uint16(b[2:])) <= at {
		return true
	}
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 || b[1] < 192 || b[1] > 213 {
			return false
		}
		size := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b) {
			return false
		}
		b = b[size:]
	}
	return true
}

func (in *Inspector) rtpMessage(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	st.finished = true
	if len(b) < rtpHeader {
		return
	}
	kind := b[1] & 0x7f
	if name, ok := rtpNames[kind]; ok {
		in.addRequest(st, in.verb("payload", []byte(name)), rec)
		return
	}
	in.addRequest(st, appendInt(in.verb("payload ", nil), kind), rec)
}

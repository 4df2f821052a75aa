package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// WireGuard (Donenfeld, NDSS 2017, section 5.4): four kinds of messages of fixed shape.
func wireguardProtocol() protocol {
	return protocol{app: "wireguard", udp: []uint16{51820}, datagram: looksWireGuard, message: (*Inspector).wireguardMessage}
}

const (
	wgInitiation    = 148 // octets
	wgResponse      = 92
	wgCookie        = 64
	wgSmallestData  = 32
	wireguardEnough = 8 // messages of a flow that are looked at
)

func looksWireGuard(b []byte, h *hint) bool {
	if len(b) < wgSmallestData || b[1]|b[2]|b[3] != 0 {
		return false
	}
	switch b[0] {
	case 1:
		return len(b) == wgInitiation
	case 2:
		return len(b) == wgResponse
	case 3:
		return len(b) == wgCookie && h.onPort
	case 4: // met after the handshake; a keep-alive has no payload
		return len(b)%16 == 0 && binary.LittleEndian.Uint32(b[4:]) != 0 && binary.LittleEndian.Uint64(b[8:]) < 1<<40 && (h.onPort || *h.note == 4<<32|uint64(binary.LittleEndian.Uint32(b[4:])) || wgNote(b, h))
	}
	return false
}

// wgNote remembers the receiver of a data message, so that a second one to the
// same is told from other protocols. It is never enough by itself.
func wgNote(b []byte, h *hint) bool {
	if *h.note == 0 {
		*h.note = 4<<32 | uint64(binary.LittleEndian.Uint32(b[4:]))
	}
	return false
}

func (in *Inspector) wireguardMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	name := ""
	switch {
	case len(b) == wgInitiation && b[0] == 1:
		name = "handshake initiation"
	case len(b) == wgResponse && b[0] == 2:
		in.addResponse(st, in.verb("handshake response", nil), rec)
	case len(b) == wgCookie && b[0] == 3:
		in.addResponse(st, in.verb("cookie reply", nil), rec)
	}
	if name != "" {
		in.addRequest(st, in.verb(name, nil), rec)
	}
	if st.count[0]++; st.count[0] >= wireguardEnough {
		st.finished = true
	}
}

package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// OpenVPN over UDP and, with a length before each packet, over TCP: the reset
// with which client and server begin, plain, with tls-auth or tls-crypt.
func openvpnProtocol() protocol {
	return protocol{app: "openvpn", tcp: []uint16{1194}, udp: []uint16{1194}, stream: looksOpenVPNStream, datagram: looksOpenVPN,
		parse: (*Inspector).openvpnStream, message: (*Inspector).openvpnMessage}
}

// Opcodes, in the five high bits of the first octet.
const (
	vpnClientV1, vpnServerV1, vpnControl, vpnAck, vpnDataV1 = 1, 2, 4, 5, 6
	vpnClientV2, vpnServerV2, vpnDataV2, vpnClientV3        = 7, 8, 9, 10
)

// looksOpenVPN recognises a hard reset: opcode, session id, then, after what
// tls-auth adds (a digest, packet id and time), no acknowledgements or those of
// the other side's reset, and message number 0.
func looksOpenVPN(b []byte, h *hint) bool {
	if len(b) < 14 || b[0]&7 != 0 {
		return false
	}
	op := b[0] >> 3
	switch op {
	case vpnClientV1, vpnServerV1, vpnClientV2, vpnServerV2, vpnClientV3:
	default:
		return false
	}
	if binary.BigEndian.Uint64(b[1:]) == 0 {
		return false
	}
	server := op == vpnServerV1 || op == vpnServerV2
	for _, digest := range [...]int{0, 16, 20, 28, 32, 48, 64} {
		at := 9
		if digest > 0 {
			at += digest + 8
		}
		if vpnNumber(b, at, digest > 0, server) {
			return true
		}
	}
	// tls-crypt encrypts from the packet id and time on: 1 + 8 + 8 + 32 and at least 5.
	if len(b) >= 54 && binary.BigEndian.Uint32(b[9:]) == 1 && vpnTime(binary.BigEndian.Uint32(b[13:])) {
		return true
	}
	return h.onPort && len(b) >= 42 && len(b) <= 120
}

// vpnNumber checks acknowledgements and message number at a place.
func vpnNumber(b []byte, at int, signed, server bool) bool {
	if len(b) < at+5 {
		return false
	}
	if signed && (binary.BigEndian.Uint32(b[at-8:]) != 1 || !vpnTime(binary.BigEndian.Uint32(b[at-4:]))) {
		return false
	}
	acks := int(b[at])
	if acks > 1 || acks == 1 != server {
		return false
	}
	at++
	if acks == 1 {
		at += 4 + 8 // the number, and whose session it is
	}
	return len(b) == at+4 && binary.BigEndian.Uint32(b[at:]) == 0
}

// vpnTime tells a time between 2003 and 2106, seconds since the Unix epoch.
func vpnTime(t uint32) bool { return t > 1<<30 }

func looksOpenVPNStream(b []byte, h *hint) verdict {
	switch {
	case len(b) >= 1 && b[0] != 0, len(b) >= 2 && (b[1] < 14 || b[1] > 200):
		return no
	case len(b) >= 3 && (b[2]&7 != 0 || b[2]>>3 != vpnClientV1 && b[2]>>3 != vpnClientV2 && b[2]>>3 != vpnClientV3 && b[2]>>3 != vpnServerV1 && b[2]>>3 != vpnServerV2):
		return no
	case len(b) < 2 || len(b) < 2+int(b[1]):
		return undecided
	}
	if looksOpenVPN(b[2:2+int(b[1])], h) {
		return yes
	}
	return no
}

func (in *Inspector) openvpnStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if len(b) < 2 {
		return 0
	}
	size := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < min(size, 10) {
		return 0
	}
	in.openvpnMessage(st, d, b[2:min(size, len(b))], rec, now)
	if st.finished {
		return len(b)
	}
	return st.stepOver(d, size, b)
}

func (in *Inspector) openvpnMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	if len(b) == 0 {
		return
	}
	switch b[0] >> 3 {
	case vpnClientV1, vpnClientV2, vpnClientV3:
		in.addRequest(st, in.verb("hard reset", nil), rec)
	case vpnServerV1, vpnServerV2:
		in.addResponse(st, in.verb("hard reset", nil), rec)
	case vpnDataV1, vpnDataV2:
		st.finished = true
	}
	if st.count[0]++; st.count[0] >= 16 {
		st.finished = true
	}
}

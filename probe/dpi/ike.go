package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// IKE version 1 and 2 (RFC 2408, RFC 7296), and ESP in UDP beside it (RFC 3948).
func ikeProtocol() protocol {
	return protocol{app: "ike", udp: []uint16{500, 4500}, datagram: looksIKE, message: (*Inspector).ikeMessage}
}

// espProtocol is ESP in UDP met without its IKE.
func espProtocol() protocol {
	return protocol{app: "esp", udp: []uint16{4500}, datagram: looksESP}
}

const ikeHeader = 28

// ikeExchanges are exchange types (IANA IKEv2 Exchange Types, RFC 2408, section 3.1).
var ikeExchanges = map[byte]string{1: "Base", 2: "Identity Protection", 3: "Authentication Only", 4: "Aggressive", 5: "Informational", 6: "Transaction",
	32: "Quick Mode", 33: "New Group Mode", 34: "IKE_SA_INIT", 35: "IKE_AUTH", 36: "CREATE_CHILD_SA", 37: "INFORMATIONAL", 38: "IKE_SESSION_RESUME",
	43: "IKE_INTERMEDIATE", 44: "IKE_FOLLOWUP_KE"}

// looksIKE wants the initiator's cookie, a version, a known exchange, and a
// length that is the datagram's.
func looksIKE(b []byte, h *hint) bool {
	if len(b) > 4 && binary.BigEndian.Uint32(b) == 0 {
		b = b[4:] // non-ESP marker
	}
	if len(b) < ikeHeader || binary.BigEndian.Uint64(b) == 0 || b[17] != 0x10 && b[17] != 0x20 || ikeExchanges[b[18]] == "" {
		return false
	}
	size := int(binary.BigEndian.Uint32(b[24:]))
	return size == len(b) || h.onPort && size > len(b) && size < 1<<16
}

// looksESP: an SPI that is not reserved, and a low sequence number.
func looksESP(b []byte, h *hint) bool {
	return h.onPort && (len(b) == 1 && b[0] == 0xff || len(b) >= 20 && binary.BigEndian.Uint32(b) > 255 && binary.BigEndian.Uint32(b[4:]) < 1<<24)
}

func (in *Inspector) ikeMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	if !looksIKE(b, &hint{onPort: true}) {
		if st.count[0]++; st.count[0] > 8 { // ESP
			st.finished = true
		}
		return
	}
	if binary.BigEndian.Uint32(b) == 0 {
		b = b[4:]
	}
	rec.AppVersion = "1"
	if b[17] == 0x20 {
		rec.AppVersion = "2"
	}
	name := ikeExchanges[b[18]]
	if reply := b[17] == 0x20 && b[19]&0x20 != 0 || b[17] == 0x10 && d == sideDst; reply {
		in.addResponse(st, in.verb(name, nil), rec)
	} else {
		in.addRequest(st, in.verb(name, nil), rec)
	}
}

// L2TP version 2 (RFC 2661) and 3 over UDP (RFC 3931).
func l2tpProtocol() protocol {
	return protocol{app: "l2tp", udp: []uint16{1701}, datagram: looksL2TP}
}

// looksL2TP wants the bits that are 0 in both versions to be so, and of control
// messages, which have a length and a number, the length.
func looksL2TP(b []byte, h *hint) bool {
	if !h.onPort || len(b) < 6 || b[1]&0xf0 != 0 || b[1] != 2 && b[1] != 3 || b[0]&0x34 != 0 {
		return false
	}
	switch {
	case b[0]&0x80 != 0:
		return b[0]&0x4b == 0x48 && len(b) >= 12 && int(binary.BigEndian.Uint16(b[2:])) == len(b)
	case b[0]&0x40 != 0: // data with a length
		return int(binary.BigEndian.Uint16(b[2:])) == len(b)
	}
	return b[1] == 2 || b[0] == 0 // version 3 has no other bits
}

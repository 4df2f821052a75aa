package dpi

import "github.com/tapwatch/tapwatch/proto/flow"

// NTP versions 1 to 4 (RFC 5905, section 7.3), with control (RFC 9327) and the
// private mode of ntpd, which attackers use to amplify.
func ntpProtocol() protocol {
	return protocol{app: "ntp", udp: []uint16{123}, datagram: func(b []byte, h *hint) bool { return h.onPort && looksNTP(b) },
		message: (*Inspector).ntpMessage}
}

const (
	ntpPacket  = 48
	ntpControl = 6
	ntpPrivate = 7
)

var ntpModes = [...]string{"", "SYMMETRIC_ACTIVE", "SYMMETRIC_PASSIVE", "CLIENT", "SERVER", "BROADCAST", "CONTROL", "PRIVATE"}

func looksNTP(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	version, mode := b[0]>>3&7, b[0]&7
	switch {
	case version < 1 || version > 4:
		return false
	case mode == ntpControl: // no leap bits, an operation, data that is there
		op := b[1] & 31
		return b[0]&0xc0 == 0 && len(b) >= 12 && (op <= 12 || op == 31) && 12+int(b[10])<<8+int(b[11]) <= len(b)
	case mode == ntpPrivate: // an implementation and a request that exist
		return len(b) >= 8 && (b[2] == 0 || b[2] == 2 || b[2] == 3) && b[3] <= 45
	}
	// Polls and precisions are powers of two; a client may say 32 in place of its own.
	poll, precision := int8(b[2]), int8(b[3])
	return len(b) >= ntpPacket && len(b)%4 == 0 && b[1] <= 16 && (mode != 0 || version == 1) && poll >= -8 && poll <= 24 && precision >= -40 && precision <= 32
}

func (in *Inspector) ntpMessage(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	if !looksNTP(b) {
		in.stats.Malformed++
		return
	}
	mode := b[0] & 7
	if rec.AppVersion == "" || mode < ntpControl {
		rec.AppVersion = "12345678"[b[0]>>3&7-1:][:1]
	}
	in.scratch = append(in.scratch[:0], ntpModes[mode]...)
	answer := mode == 4 || mode == 5 || mode == 2
	switch mode {
	case ntpControl:
		answer = b[1]&0x80 != 0
		if answer && b[1]&0x40 != 0 {
			rec.AppErrors++
		}
		in.scratch = appendInt(append(in.scratch, ' '), b[1]&31)
	case ntpPrivate: // request codes 20 and 42 are MON_GETLIST
		answer = b[0]&0x80 != 0
		if b[3] == 42 || b[3] == 20 {
			in.scratch = append(in.scratch, " MON_GETLIST"...)
		} else {
			in.scratch = appendInt(append(in.scratch, ' '), b[3])
		}
	case 4, 5:
		in.scratch = appendInt(append(in.scratch, " stratum "...), b[1])
		if b[1] == 0 { // a kiss of death says why (section 7.4)
			rec.AppErrors++
			in.scratch = append(append(in.scratch, ' '), trimBlanks(b[12:16])...)
		}
	}
	// A server floods or a clock ticks: what repeats is told once.
	list := &rec.AppRequests
	if answer {
		list = &rec.AppResponses
	}
	if n := len(*list); n > 0 && (*list)[n-1] == string(in.scratch) {
		return
	}
	in.addTo(list, st, in.scratch, rec)
}

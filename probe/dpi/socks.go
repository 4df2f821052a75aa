package dpi

import (
	"encoding/binary"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// SOCKS 4, 4a and 5 (RFC 1928, RFC 1929). Where the connection goes is the
// request; what it carries is then recognised and read, and the flow stays
// socks.
func socksProtocol() protocol {
	return protocol{app: "socks", tcp: []uint16{1080}, anyOctet: true, stream: looksSOCKS, parse: (*Inspector).socksStream}
}

// looksSOCKS takes a request of version 4, which is unmistakable, and a
// greeting of version 5 on the port or once it was answered.
func looksSOCKS(b []byte, h *hint) verdict {
	if len(b) == 0 {
		return undecided
	}
	if b[0] == 5 {
		if len(b) == 2 && (b[1] <= 2 || b[1] == 0xff) && socksGreeting(h.other) {
			return yes
		}
		if !socksGreeting(b) {
			if len(b) < 2 || b[1] > 0 && b[1] < 10 && len(b) < 2+int(b[1]) {
				return undecided
			}
			return no
		}
		if h.onPort {
			return yes
		}
		return undecided
	}
	if b[0] != 4 || len(b) < 9 || b[1] != 1 && b[1] != 2 || binary.BigEndian.Uint16(b[2:]) == 0 {
		return no
	}
	user, rest := cstring(b[8:])
	switch {
	case !plain(user) || len(user) == len(b)-8:
		return no
	case b[4]|b[5]|b[6] == 0 && b[7] != 0:
		name, after := cstring(rest)
		if len(name) > 3 && len(name) < len(rest) && plain(name) && len(after) == 0 {
			return yes
		}
		return no
	case len(rest) > 0 || b[4] == 0:
		return no
	}
	return yes
}

// socksGreeting wants a list of methods that ends with the segment, or with a
// request or login, which a client in a hurry sends along.
func socksGreeting(b []byte) bool {
	if len(b) < 3 || b[0] != 5 || b[1] == 0 || len(b) < 2+int(b[1]) {
		return false
	}
	n := 2 + int(b[1])
	if len(b) > n && (len(b) < n+2 || b[n] != 5 && b[n] != 1 || b[n+1] > 64) {
		return false
	}
	for _, m := range b[2:n] {
		if m > 9 && m < 0x80 {
			return false
		}
	}
	return true
}

// State.phase of SOCKS, by side.
const (
	socksHello  = iota
	socksLogin  // user and password, version 5
	socksTarget // version 5
)

func (in *Inspector) socksStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if in.crowded(st, 1, rec) {
		return 0
	}
	// Who is the client shows in the first octets of either: behind a reverse
	// proxy it is who was called. count is 1 for the client, 2 for the server.
	if st.count[d] == 0 {
		st.count[d], st.count[d.other()] = 1, 2
		if b[0] == 0 || len(b) == 2 {
			st.count[d], st.count[d.other()] = 2, 1
		}
	}
	if st.count[d] == 1 {
		return in.socksClient(st, d, b, rec)
	}
	if client := d.other(); st.half[client].n > 0 { // it said all in one go, before the server spoke
		in.drainBuffer(st, client, rec, now)
		if st.finished || st.kind == kindNone {
			return len(b)
		}
	}
	return in.socksServer(st, d, b, rec)
}

func (in *Inspector) socksClient(st *State, d side, b []byte, rec *flow.Record) int {
	r := reader{b: b}
	switch version := r.u8(); {
	case version == 4 && st.phase[d] == socksHello:
		rec.AppVersion = "4"
		command, port, ip := r.u8(), r.u16(), r.take(4)
		user, rest := cstring(r.b)
		if r.bad || len(user) == len(r.b) {
			return in.socksWait(st, b)
		}
		in.setOnce(&rec.User, user, rec)
		in.socksVerb(command)
		if ip[0]|ip[1]|ip[2] == 0 && ip[3] != 0 {
			rec.AppVersion = "4a"
			name, after := cstring(rest)
			if len(name) == len(rest) {
				return in.socksWait(st, b)
			}
			in.scratch, rest = append(in.scratch, name...), after
		} else {
			in.scratch = netip.AddrFrom4([4]byte(ip)).AppendTo(in.scratch)
		}
		in.socksRequest(st, port, rec)
		return len(b) - len(rest)
	case version == 5 && st.phase[d] == socksHello:
		rec.AppVersion = "5"
		r.take(r.u8())
		if r.bad {
			return in.socksWait(st, b)
		}
		st.phase[d] = socksLogin
		return len(b) - len(r.b)
	case version == 1 && st.phase[d] == socksLogin:
		user, password := r.take(r.u8()), r.take(r.u8())
		if r.bad {
			return in.socksWait(st, b)
		}
		in.setOnce(&rec.User, user, rec)
		if len(password) > 0 {
			rec.Risks |= flow.RiskClearTextCredentials
		}
		return len(b) - len(r.b)
	case version == 5 && st.phase[d] == socksLogin:
		command := r.u8()
		r.u8()
		in.socksVerb(command)
		switch r.u8() {
		case 1:
			if ip := r.take(4); ip != nil {
				in.scratch = netip.AddrFrom4([4]byte(ip)).AppendTo(in.scratch)
			}
		case 3:
			in.scratch = append(in.scratch, r.take(r.u8())...)
		case 4:
			if ip := r.take(16); ip != nil {
				in.scratch = netip.AddrFrom16([16]byte(ip)).AppendTo(append(in.scratch, '['))
				in.scratch = append(in.scratch, ']')
			}
		default:
			if !r.bad {
				return in.socksEnd(st, b)
			}
		}
		port := r.u16()
		if r.bad {
			return in.socksWait(st, b)
		}
		in.socksRequest(st, port, rec)
		st.phase[d] = socksTarget
		return len(b) - len(r.b)
	}
	return in.socksEnd(st, b)
}

func (in *Inspector) socksVerb(command int) {
	verb := "CONNECT "
	switch command {
	case 2:
		verb = "BIND "
	case 3:
		verb = "UDP "
	}
	in.scratch = append(in.scratch[:0], verb...)
}

func (in *Inspector) socksRequest(st *State, port int, rec *flow.Record) {
	in.addRequest(st, appendInt(append(in.scratch, ':'), port), rec)
}

func (in *Inspector) socksServer(st *State, d side, b []byte, rec *flow.Record) int {
	r := reader{b: b}
	switch version := r.u8(); {
	case version == 0 && len(rec.AppVersion) > 0 && rec.AppVersion[0] == '4':
		if len(b) < 8 {
			return 0
		}
		in.addResponse(st, appendInt(in.scratch[:0], b[1]), rec)
		if b[1] != 90 {
			rec.AppErrors++
			return in.socksEnd(st, b)
		}
		in.inside(st)
		return 8
	case version == 5 && st.phase[d] == socksHello:
		if len(b) < 2 {
			return 0
		}
		st.phase[d] = socksLogin
		if b[1] == 0xff {
			rec.AppErrors++
		}
		return 2
	case version == 1 && st.phase[d] == socksLogin:
		if len(b) < 2 {
			return 0
		}
		if b[1] != 0 {
			rec.AppErrors++
		}
		return 2
	case version == 5 && st.phase[d] == socksLogin:
		code := r.u8()
		r.u8()
		switch r.u8() {
		case 1:
			r.take(4)
		case 3:
			r.take(r.u8())
		case 4:
			r.take(16)
		}
		r.u16()
		if r.bad {
			return in.socksWait(st, b)
		}
		in.addResponse(st, appendInt(in.scratch[:0], code), rec)
		if code != 0 {
			rec.AppErrors++
			return in.socksEnd(st, b)
		}
		in.inside(st)
		return len(b) - len(r.b)
	}
	return in.socksEnd(st, b)
}

// socksWait asks for more octets, but no message is as long as this.
func (in *Inspector) socksWait(st *State, b []byte) int {
	if len(b) > 1024 {
		return in.socksEnd(st, b)
	}
	return 0
}

func (in *Inspector) socksEnd(st *State, b []byte) int {
	st.finished = true
	return len(b)
}

// inside begins the search for a protocol anew: what follows is a connection
// through a proxy. The record keeps the application it has.
func (in *Inspector) inside(st *State) {
	st.parser, st.kind, st.packets = nil, kindNone, 0
	st.phase, st.count, st.word, st.flags, st.extra = [2]uint8{}, [2]uint32{}, [2]uint64{}, 0, nil
	for d := range st.half {
		st.half[d].dead, st.half[d].used = false, false
	}
}

package dpi

import (
	"github.com/tapwatch/tapwatch/proto/flow"
)

// verdict says whether octets begin a message of a protocol.
type verdict uint8

const (
	no        verdict = iota
	undecided         // too few octets to tell
	yes
)

// recognise looks for the protocol of a TCP stream in the octets that begin
// it, or that begin a packet of a connection met in its middle, and hands the
// flow to that parser.
func (in *Inspector) recognise(st *State, d side, b []byte, rec *flow.Record) verdict {
	p, v := in.streamProtocol(st, d, b, rec)
	if v == yes {
		in.recognised(st, p, rec)
		in.forgetStranger(st, d.other(), rec)
	}
	return v
}

// streamProtocol is the same question without consequences.
func (in *Inspector) streamProtocol(st *State, d side, b []byte, rec *flow.Record) (*protocol, verdict) {
	if len(b) == 0 {
		return nil, undecided
	}
	h := in.newHint(st.transport, d, rec)
	if s := &st.half[d.other()]; s.n > 0 {
		h.other = s.buf[s.off : s.off+s.n]
	}
	best := no
	starts := in.beginning(b[0])
	for i := range starts {
		p := &starts[i]
		h.onPort = h.on(p.ports)
		switch p.looks(b, h) {
		case yes:
			return p.of, yes
		case undecided:
			best = undecided
		}
	}
	return nil, best
}

// recogniseDatagram looks for the protocol of a UDP flow.
func (in *Inspector) recogniseDatagram(st *State, d side, b []byte, rec *flow.Record) bool {
	h := in.newHint(st.transport, d, rec)
	h.note = &st.word[d]
	for i := range in.datagrams {
		p := &in.datagrams[i]
		if h.onPort = h.on(p.ports); p.looks(b, h) {
			in.recognised(st, p.of, rec)
			return true
		}
	}
	return false
}

// newHint returns the Inspector's one hint, for this flow; it is not allocated
// anew because it passes through function values.
func (in *Inspector) newHint(proto uint8, d side, rec *flow.Record) *hint {
	in.hint = hint{port: serverPort(rec), ports: [2]uint16{rec.DstPort, rec.SrcPort}, d: d}
	if in.expected.n > 0 {
		in.hint.expected = in.expected.app(proto, rec)
	}
	return &in.hint
}

// recognised hands the flow to the parser of p.
func (in *Inspector) recognised(st *State, p *protocol, rec *flow.Record) {
	st.parser, st.kind, st.word = p, p.kind, [2]uint64{}
	if p.kind == kindNone {
		st.kind = kindOther
	}
	if rec.App == "" || rec.AppSource != flow.AppDPI {
		rec.App, rec.AppSource = p.app, flow.AppDPI
		undescribe(rec)
		rec.Risks |= p.risks
		ports := p.tcp
		if st.transport == protoUDP {
			ports = p.udp
		}
		if len(ports) > 0 && !in.newHint(st.transport, sideSrc, rec).on(ports) {
			rec.Risks |= flow.RiskKnownProtocolOnNonStandardPort
		}
	}
	in.stats.Recognised++
	if p.parse == nil && p.message == nil {
		st.finished = true
	}
}

// become hands the rest of the flow to the parser of another protocol, as
// after STARTTLS or an upgrade. The record keeps the application it has. The
// caller returns how many octets were its own; what follows is the new
// parser's. Both directions begin anew, the other one with its next packet.
func (in *Inspector) become(st *State, app string) {
	for i := range in.protocols {
		if p := &in.protocols[i]; p.app == app {
			in.forgetProtocol(st)
			st.parser, st.kind = p, max(p.kind, kindOther)
			return
		}
	}
	st.finished = true
}

// forgetStranger drops what the other side said before the protocol began, as
// with RDP, which agrees on TLS first.
func (in *Inspector) forgetStranger(st *State, d side, rec *flow.Record) {
	s := &st.half[d]
	if s.n == 0 || s.used {
		return
	}
	// What the parser's own protocol says there is no stranger.
	if p, v := in.streamProtocol(st, d, s.buf[s.off:s.off+s.n], rec); v == no || v == yes && p != st.parser {
		in.drop(s)
		*s = stream{}
	}
}

// resumes tells whether b begins a message of the flow's protocol: where a
// parser that lost its place may start again.
func (st *State) resumes(b []byte) verdict {
	if st.parser == nil || st.parser.resume == nil {
		return no
	}
	return st.parser.resume(b)
}

// serverPort is the port that names the service: the responder's, or the
// initiator's where only that one is well known.
func serverPort(rec *flow.Record) uint16 {
	if rec.DstPort >= 1024 && rec.SrcPort < 1024 {
		return rec.SrcPort
	}
	return rec.DstPort
}

// Guess writes the application that the flow's port stands for by convention
// into a record that has none: of a flow without payload. It is marked as a
// guess by port.
func (in *Inspector) Guess(rec *flow.Record) {
	if rec.App != "" || rec.EtherType != 0 || rec.Protocol != protoTCP && rec.Protocol != protoUDP {
		return
	}
	if app := in.portApp(rec.Protocol, serverPort(rec)); app != "" {
		rec.App, rec.AppSource = app, flow.AppPort
	}
}

// portApp names the application that a port stands for by convention; "" is
// no guess.
func (in *Inspector) portApp(transport uint8, port uint16) string {
	if transport == protoUDP {
		return in.udpPorts[port]
	}
	return in.tcpPorts[port]
}

// addRequest appends b to the record's requests. False: the list is full, and
// the parser of a stream returns 0, to be called again with the next segment.
func (in *Inspector) addRequest(st *State, b []byte, rec *flow.Record) bool {
	return in.addTo(&rec.AppRequests, st, b, rec)
}

// addResponse does the same for an answer.
func (in *Inspector) addResponse(st *State, b []byte, rec *flow.Record) bool {
	return in.addTo(&rec.AppResponses, st, b, rec)
}

func (in *Inspector) addTo(list *[]string, st *State, b []byte, rec *flow.Record) bool {
	if len(*list) >= flow.MaxList {
		if st.transport == protoUDP {
			rec.Cut |= flow.CutList
			return true
		}
		st.blocked = true
		return false
	}
	*list = append(*list, in.printable(b, rec))
	return true
}

// software notes what a side says of itself, as a banner does. The first counts.
func (in *Inspector) software(d side, b []byte, rec *flow.Record) {
	s := &rec.ClientSoftware
	if d == sideDst {
		s = &rec.ServerSoftware
	}
	if *s == "" {
		*s = in.printable(b, rec)
	}
}

// startAnew lets the flow be recognised once more, as what a proxy carries
// after CONNECT. The record keeps the application it has.
func (in *Inspector) startAnew(st *State) {
	in.forgetProtocol(st)
	st.parser, st.kind = nil, kindNone
}

// forgetProtocol empties what a parser remembered of the flow.
func (in *Inspector) forgetProtocol(st *State) {
	in.giveBack(st)
	in.unreserve(st)
	st.packets = 0
	st.phase, st.count, st.word, st.flags, st.extra = [2]uint8{}, [2]uint32{}, [2]uint64{}, 0, nil
	st.quic = quicState{}
	for d := range st.half {
		st.half[d].dead, st.half[d].used, st.half[d].lost, st.half[d].skip = false, false, false, 0
	}
}

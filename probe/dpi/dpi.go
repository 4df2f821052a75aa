// Package dpi recognises the application of a flow from its content, on any
// port, and takes out the few fields that are worth keeping: TLS and QUIC
// hellos, HTTP/1 requests and statuses, DNS names and answers, SSH banners.
//
// What comes in: the packets of one flow, in the order of capture, as
// decode.Packet. What goes out: fields of the flow.Record that the caller
// hands in. Nothing in the record points into a packet: every string is a copy
// that the record may keep. One file holds one protocol; adding a protocol is
// one file, one line in recognise.go and one in parseStream or parseDatagram.
//
// Everything is bounded: a flow holds at most streamLimit octets of
// reassembled stream, an Inspector at most Config.BufferBytes over all flows.
// What does not fit is marked in Record.Cut, never silently dropped.
package dpi

import (
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/plugin"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Config bounds one Inspector. The zero value of a field means its default.
type Config struct {
	// BufferBytes is the memory that all flows of the worker may hold for
	// reassembly, in octets. Default 32 MiB. Beyond it, streams are cut.
	BufferBytes int
	// InternStrings is the number of distinct strings remembered so that
	// repeated names, agents and fingerprints allocate nothing. Default 8192.
	InternStrings int
	// Services names what stands above the protocol; nil: nothing does.
	Services *Services
	// Recognisers are asked after the protocols of this package.
	Recognisers []plugin.Recogniser
}

// DefaultConfig returns the limits used in production.
func DefaultConfig() Config { return Config{BufferBytes: 32 << 20, InternStrings: 8192} }

// Stats counts what an Inspector did since it was made. Read it from the
// goroutine that owns the Inspector.
type Stats struct {
	Recognised  uint64 // flows whose application was found in the payload
	Unknown     uint64 // flows given up without recognising anything
	StreamsCut  uint64 // streams that exceeded their bound or had holes
	NoMemory    uint64 // of these, because BufferBytes was used up
	Malformed   uint64 // messages of a recognised protocol that do not parse
	QUICFailed  uint64 // QUIC Initial packets that could not be opened
	BufferBytes int    // octets held for reassembly now
}

// Inspector inspects the flows of one worker. It has no locks: one goroutine
// owns it, together with every State it handed out.
type Inspector struct {
	protocols          []protocol
	byOctet            [256][]streams // see beginning
	datagrams          []datagrams
	tcpPorts, udpPorts portNames
	hint               hint
	whole              decode.Packet // a datagram put together from fragments
	expected           expectations

	pool    bufferPool
	strings interner
	stats   Stats
	done    State // what Inspect returns for every flow with nothing more to learn
	free    []*State
	freeX   []*httpState
	freeD   []*dnsState

	scratch []byte   // text being built: fingerprints, names, request lines
	codes   []uint16 // cipher and extension lists being sorted
	text    []byte   // second scratch, for text made while scratch is in use
	quic    quicScratch

	certificates certificateCache
	services     *Services
	census       *census              // nil until describe needs it
	agents       map[string]flow.Risk // see agentRisks
}

// NewInspector returns an Inspector for one worker goroutine.
func NewInspector(cfg Config) *Inspector {
	def := DefaultConfig()
	if cfg.BufferBytes <= 0 {
		cfg.BufferBytes = def.BufferBytes
	}
	if cfg.InternStrings <= 0 {
		cfg.InternStrings = def.InternStrings
	}
	in := &Inspector{done: State{finished: true}, protocols: append(protocols(), extra(cfg.Recognisers)...)}
	in.scratch, in.text = make([]byte, 0, 512), make([]byte, 0, 512)
	in.datagrams = overUDP(in.protocols)
	in.tcpPorts = byPort(in.protocols, func(p *protocol) []uint16 { return p.tcp })
	in.udpPorts = byPort(in.protocols, func(p *protocol) []uint16 { return p.udp })
	in.pool.limit = cfg.BufferBytes
	in.services = cfg.Services
	in.strings.limit = cfg.InternStrings / 2
	return in
}

// Stats returns the counters so far.
func (in *Inspector) Stats() Stats {
	s := in.stats
	s.BufferBytes = in.pool.used
	return s
}

// Protocol numbers (IANA).
const (
	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132
)

// Inspect looks at one packet of a flow and writes what it learns into rec.
// st is nil for the first packet of a flow, later what the call before
// returned; fromSrc tells whether the packet was sent by rec's source. Packets
// without payload and Bare ones may be left out. The packet is not kept.
//
// full asks the caller to end this segment of the flow now: a list of rec has
// reached flow.MaxList, or will soon and nothing in it is unanswered. The
// caller hands the record on, calls Segment and goes on with the same State.
func (in *Inspector) Inspect(st *State, p *decode.Packet, fromSrc bool, rec *flow.Record) (next *State, full bool) {
	if st == nil {
		st = in.newState()
		rec.Service = in.services.ByAddr(rec.DstIP)
	}
	fragment := p.Fragment
	if p = p.Whole(&in.whole); st.finished || p == nil || p.PayloadLen == 0 || p.Bare {
		return st, false
	}
	st.fragment = fragment
	if st.swap {
		exchangeSides(st, rec)
	}
	st.port, st.transport = serverPort(rec), p.Protocol
	d := sideSrc
	if !fromSrc {
		d = sideDst
	}
	if len(p.Payload) < int(p.PayloadLen) {
		rec.Cut |= flow.CutSnaplen
	}
	if st.packets < 255 {
		st.packets++
	}
	if len(p.Payload) > 0 {
		st.seen = true
	}
	switch p.Protocol {
	case protoTCP:
		if st.blocked {
			in.drainHeld(st, rec, p.Time)
		}
		in.segment(st, d, p, rec)
	case protoUDP:
		in.datagram(st, d, p, rec)
	case protoSCTP:
		in.sctp(st, d, p, rec)
	default:
		st.finished = true
	}
	if st.kind == kindNone && st.packets == 1 && rec.App == "" {
		in.describe(p.Payload, rec)
	}
	if st.kind == kindNone && st.packets >= patience(p.Protocol) {
		in.giveUp(st, rec)
	}
	if st.packets >= tlsPatience && (st.kind == kindTLS || st.kind == kindSSH) && st.half[0].idle() && st.half[1].idle() {
		st.finished = true
	}
	full = listsFull(st, rec)
	if st.finished {
		in.release(st)
		return &in.done, full
	}
	return st, full
}

// patience is the number of payload packets after which an unrecognised flow
// is left alone. Protocols show themselves in their first message; the rest is
// room for a connection met in its middle, which may begin a new request.
func patience(proto uint8) uint8 {
	if proto == protoTCP || proto == protoSCTP { // SCTP's own handshake takes four
		return 12
	}
	return 4
}

// tlsPatience is the number of payload packets after one side's hello within
// which the other side of a TLS or SSH connection says its own; where one side is not seen, the flow
// is left alone after them, unless a hello is just coming in.
const tlsPatience = 64

// Close ends a flow: what could be told only now is written into rec, and the
// State is taken back. st may be nil. It must not be used afterwards.
func (in *Inspector) Close(st *State, rec *flow.Record) {
	if st == nil || st == &in.done {
		return
	}
	if st.swap {
		exchangeSides(st, rec)
	}
	if st.blocked {
		in.drainHeld(st, rec, rec.End)
		if st.blocked {
			rec.Cut |= flow.CutList
		}
	}
	for d := range st.half { // nothing will fill the holes
		for s := &st.half[d]; st.kind != kindNone && len(s.buf) > 0 && !s.dead && !st.finished && !st.blocked; {
			in.hole(st, side(d), rec, rec.End)
		}
	}
	if st.kind == kindNone && rec.App == "" {
		in.giveUp(st, rec)
	}
	in.release(st)
}

// Segment prepares rec, already handed on, for the next segment of the same
// flow: lists and the fields that tell of a record's first transaction are
// emptied, what is true of the whole flow (application, TLS, SSH) stays. The
// lists keep their memory. st may be nil.
func (in *Inspector) Segment(st *State, rec *flow.Record) {
	rec.HTTPMethod, rec.HTTPHost, rec.HTTPURI, rec.HTTPUserAgent = "", "", "", ""
	rec.HTTPStatus, rec.HTTPContentType = 0, ""
	rec.HTTPRequests, rec.HTTPStatuses = rec.HTTPRequests[:0], rec.HTTPStatuses[:0]
	rec.DNSNames, rec.DNSQTypes, rec.DNSRcodes = rec.DNSNames[:0], rec.DNSQTypes[:0], rec.DNSRcodes[:0]
	rec.DNSAnswers, rec.DNSLatency = rec.DNSAnswers[:0], 0
	rec.HTTPLatencies, rec.DNSLatencies = rec.HTTPLatencies[:0], rec.DNSLatencies[:0]
	rec.AppRequests, rec.AppResponses, rec.AppErrors = rec.AppRequests[:0], rec.AppResponses[:0], 0
	rec.Cut &^= flow.CutList
	if st != nil && st.dns != nil {
		st.dns.forgetPlaces()
	}
}

// Lists are cut a little before they are full when nothing in them waits for
// its answer, so that a name and its answer stay in one record.
const softList = flow.MaxList * 3 / 4

func listsFull(st *State, rec *flow.Record) bool {
	if st.blocked {
		return true
	}
	switch st.kind {
	case kindNone, kindTLS, kindSSH, kindQUIC: // they add to no list
		return false
	}
	switch {
	case len(rec.DNSNames) > 0:
		return len(rec.DNSNames) >= flow.MaxList || len(rec.DNSAnswers) >= flow.MaxList ||
			(st.dns == nil || st.dns.waiting == 0) && (len(rec.DNSNames) >= softList || len(rec.DNSAnswers) >= flow.MaxList/2)
	case len(rec.HTTPRequests) > 0 || len(rec.HTTPStatuses) > 0:
		return len(rec.HTTPRequests) >= flow.MaxList || len(rec.HTTPStatuses) >= flow.MaxList ||
			len(rec.HTTPRequests) >= softList && len(rec.HTTPStatuses) >= len(rec.HTTPRequests)
	case len(rec.AppRequests) > 0 || len(rec.AppResponses) > 0:
		return len(rec.AppRequests) >= flow.MaxList || len(rec.AppResponses) >= flow.MaxList ||
			len(rec.AppRequests) >= softList && len(rec.AppResponses) >= len(rec.AppRequests)
	}
	return false
}

// giveUp ends the search: the port says what it can.
func (in *Inspector) giveUp(st *State, rec *flow.Record) {
	if rec.App == "" && st.seen {
		in.stats.Unknown++
		rec.App, rec.AppSource = in.portApp(st.transport, st.port), flow.AppPort
		if rec.App == "" {
			rec.App, rec.AppSource = "unknown", flow.AppNone
		}
	}
	st.finished = true
}

// malformed counts a message of a recognised protocol that does not parse.
func (in *Inspector) malformed(rec *flow.Record) {
	in.stats.Malformed++
	rec.Risks |= flow.RiskMalformedPacket
}

func (in *Inspector) cutStream(rec *flow.Record) {
	rec.Cut |= flow.CutStream
	in.stats.StreamsCut++
}

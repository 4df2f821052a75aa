package dpi

import "github.com/tapwatch/tapwatch/proto/flow"

// side is the sender of a packet.
type side uint8

const (
	sideSrc side = iota
	sideDst
)

func (d side) other() side { return 1 - d }

// State is what an Inspector remembers of one flow between two packets. It
// belongs to the Inspector that made it.
type State struct {
	half [2]stream // by sender

	http *httpState // nil unless kindHTTP
	dns  *dnsState  // nil unless kindDNS
	quic quicState  // kindQUIC

	// For the parser to remember what it likes, zero at the beginning.
	phase [2]uint8  // by side
	count [2]uint32 // by side; Flip exchanges these three
	word  [2]uint64 // by side
	flags uint8
	extra any // what needs more; taken back with the State

	reserved int // octets of memory that extra holds, part of the flow's bound

	parser    *protocol // nil while kindNone
	kind      kind
	finished  bool
	blocked   bool // a parser waits for room in a list of the record
	swap      bool // the sides were exchanged after fields of a side were written
	seen      bool // some payload was captured
	fragment  bool // the datagram at hand came in fragments
	packets   uint8
	transport uint8     // IP protocol
	port      uint16    // the responder's, for the guess by port
	heard     [2]bool   // SCTP: tsn is valid
	tsn       [2]uint32 // SCTP: number of the last DATA chunk
}

// Done reports that nothing more can be learnt: Inspect need not be called
// again for this flow. A nil State is not done.
func (st *State) Done() bool { return st != nil && st.finished }

// Unwanted tells what need not be given to Inspect of a TCP flow: octets of one
// side, whole segments captured whole, whose sequence numbers end at or before
// until. Every call of Inspect or Flip may change it, for both sides. ok is
// false where all is wanted. A nil State wants all.
func (st *State) Unwanted(fromSrc bool) (until uint32, ok bool) {
	if st == nil || st.finished || st.blocked || st.transport != protoTCP {
		return 0, false
	}
	s := &st.half[sideSrc]
	if !fromSrc {
		s = &st.half[sideDst]
	}
	if s.skip == 0 || !s.begun || s.lost || s.dead || len(s.buf) > 0 {
		return 0, false
	}
	// Within farAway segment finds its place again.
	return s.next + uint32(min(s.skip, farAway/2)), true
}

// Flip exchanges initiator and responder: the caller found that it had taken
// the one for the other, and has exchanged the record's addresses.
func (st *State) Flip() {
	if st == nil || st.finished {
		return
	}
	st.half[0], st.half[1] = st.half[1], st.half[0]
	st.heard[0], st.heard[1] = st.heard[1], st.heard[0]
	st.tsn[0], st.tsn[1] = st.tsn[1], st.tsn[0]
	st.phase[0], st.phase[1] = st.phase[1], st.phase[0]
	st.count[0], st.count[1] = st.count[1], st.count[0]
	st.word[0], st.word[1] = st.word[1], st.word[0]
	if st.http != nil {
		st.http.half[0], st.http.half[1] = st.http.half[1], st.http.half[0]
	}
	st.quic.client = st.quic.client.other()
	st.swap = !st.swap
}

// exchangeSides moves the fields that belong to a side: banners. All else is
// the client's or the server's by what it says.
func exchangeSides(st *State, rec *flow.Record) {
	st.swap = false
	rec.ClientSoftware, rec.ServerSoftware = rec.ServerSoftware, rec.ClientSoftware
	if st.kind == kindSSH {
		rec.SSHClient, rec.SSHServer = rec.SSHServer, rec.SSHClient
		rec.HASSH, rec.HASSHServer = "", ""
	}
}

func (in *Inspector) newState() *State {
	if n := len(in.free); n > 0 {
		st := in.free[n-1]
		in.free = in.free[:n-1]
		return st
	}
	return new(State)
}

const maxFree = 4096 // idle states kept for reuse, about 1.5 MB

// release returns everything the flow held to the pools.
func (in *Inspector) release(st *State) {
	for d := range st.half {
		in.drop(&st.half[d])
		in.pool.put(&st.half[d].message)
	}
	in.giveBack(st)
	in.unreserve(st)
	*st = State{finished: true}
	if len(in.free) < maxFree {
		st.finished = false
		in.free = append(in.free, st)
	}
}

// giveBack returns what the parsers of HTTP and DNS hold to the pools.
func (in *Inspector) giveBack(st *State) {
	if x := st.http; x != nil && len(in.freeX) < maxFree {
		*x = httpState{}
		in.freeX = append(in.freeX, x)
	}
	if x := st.dns; x != nil && len(in.freeD) < maxFree {
		*x = dnsState{}
		in.freeD = append(in.freeD, x)
	}
	st.http, st.dns = nil, nil
}

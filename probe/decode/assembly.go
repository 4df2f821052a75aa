package decode

import (
	"unsafe"

	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Stats counts what became of fragmented datagrams. Every datagram that was
// begun ends in one of Reassembled, Expired, Evicted or Refused, or is pending.
type Stats struct {
	Fragments          uint64 // pieces seen, of any protocol
	Reassembled        uint64 // datagrams offered whole
	FragmentOverlaps   uint64 // pieces with octets that were there already, which were kept
	FragmentsExpired   uint64 // datagrams not complete after 30 s
	FragmentsEvicted   uint64 // datagrams given up because newer ones needed the room
	FragmentsRefused   uint64 // datagrams that cannot be put together: pieces captured in part, contradicting or too many
	FragmentsPending   uint64 // datagrams begun and not ended: now
	FragmentsHeldBytes uint64 // octets of memory taken for them, never given back: now
}

// Bounds of one datagram.
const (
	maxPieces = 64
	// maxSpans is the most separate runs of octets from which a datagram of
	// maxPieces pieces can still become whole.
	maxSpans    = maxPieces / 2
	maxDatagram = 1<<16 - 1
	blockSize   = 1024
	maxBlocks   = (maxDatagram + blockSize) / blockSize
	slabBlocks  = 32 // blocks are taken from the runtime so many at a time
)

// span is a run of octets that are there.
type span struct{ from, to uint16 }

// datagram is being put together: its octets lie in blocks by their offset.
type datagram struct {
	entry      uint32 // in the table of fragments
	start      int64  // time of the first piece seen
	total      int    // octets of the whole, 0 not known yet
	pieces     uint8
	spans      uint8
	span       [maxSpans]span
	block      [maxBlocks]uint16 // numbers from 1, 0 none
	prev, next uint16            // by age; next also chains free ones
}

const datagramSize = int(unsafe.Sizeof(datagram{}))

// assembly holds the octets of incomplete datagrams. Its memory grows with
// need up to its limit; then the oldest datagram gives way.
type assembly struct {
	limit     int // blocks, and so datagrams at most
	datagrams []datagram
	slabs     []*[slabBlocks][blockSize]byte
	blocks    int      // in slabs, ever handed out
	free      []uint16 // blocks handed back
	freeHead  uint16   // datagrams handed back
	oldest    uint16
	newest    uint16
	pending   int
	out       []byte // the datagram that is offered
}

// newAssembly takes at most about bytes octets, the 64 KiB of the datagram that
// is offered not counted.
func newAssembly(bytes int) assembly {
	n := bytes / (blockSize + datagramSize + 4)
	return assembly{limit: min(max(n, 0), 1<<16-2)}
}

func (a *assembly) at(n uint16) *datagram { return &a.datagrams[n-1] }

// begin returns the number of a new datagram. There is always room: all but
// the newest have a block, so there are at most limit+1.
func (a *assembly) begin(entry uint32, now int64) uint16 {
	n := a.freeHead
	if n != 0 {
		a.freeHead = a.at(n).next
	} else {
		if a.datagrams == nil {
			a.datagrams = make([]datagram, 0, a.limit+1)
		}
		a.datagrams = append(a.datagrams, datagram{})
		n = uint16(len(a.datagrams))
	}
	*a.at(n) = datagram{entry: entry, start: now, prev: a.newest}
	if a.newest != 0 {
		a.at(a.newest).next = n
	} else {
		a.oldest = n
	}
	a.newest = n
	a.pending++
	return n
}

// end hands back datagram n with its blocks.
func (a *assembly) end(n uint16) {
	g := a.at(n)
	for _, b := range g.block {
		if b != 0 {
			a.free = append(a.free, b)
		}
	}
	if g.prev != 0 {
		a.at(g.prev).next = g.next
	} else {
		a.oldest = g.next
	}
	if g.next != 0 {
		a.at(g.next).prev = g.prev
	} else {
		a.newest = g.prev
	}
	g.next = a.freeHead
	a.freeHead = n
	a.pending--
}

func (a *assembly) octets(block uint16) *[blockSize]byte {
	return &a.slabs[(block-1)/slabBlocks][(block-1)%slabBlocks]
}

// take returns a free block, 0 if the limit is reached.
func (a *assembly) take() uint16 {
	if n := len(a.free); n > 0 {
		b := a.free[n-1]
		a.free = a.free[:n-1]
		return b
	}
	if a.blocks >= a.limit {
		return 0
	}
	if a.blocks == len(a.slabs)*slabBlocks {
		a.slabs = append(a.slabs, new([slabBlocks][blockSize]byte))
	}
	a.blocks++
	return uint16(a.blocks)
}

// assembles reports whether datagrams of proto, which may stand for an
// extension header, are put together: those that are inspected, and tunnels.
func (d *Decoder) assembles(proto uint8) bool {
	switch proto {
	case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoICMP, flow.ProtoICMPv6, iana.ProtoHopByHop, iana.ProtoRouting, iana.ProtoDstOpts, iana.ProtoAH:
		return true
	}
	return opensTunnel(proto) && !d.outerOnly
}

// release forgets what has been put together of e.
func (t *fragments) release(e *fragmentEntry) {
	t.assembly.end(e.datagram)
	e.datagram = 0
}

func (t *fragments) refuse(e *fragmentEntry) {
	t.stats.FragmentsRefused++
	if e.datagram != 0 {
		t.release(e)
	}
	e.closed = true
}

// expire gives up the datagrams that have taken too long.
func (t *fragments) expire(now int64) {
	for a := &t.assembly; a.oldest != 0; {
		g := a.at(a.oldest)
		if now-g.start <= fragmentTime {
			return
		}
		t.stats.FragmentsExpired++
		t.release(t.at(g.entry))
	}
}

// assemble adds a piece, the IP payload of p, to the datagram of e; when it is
// then whole, p offers it or becomes the packet in the tunnel that it is.
func (d *Decoder) assemble(e *fragmentEntry, number uint32, offset int, more bool, piece layer, p *Packet) {
	t := &d.frags
	a := &t.assembly
	to := offset + piece.wire
	switch {
	case len(piece.b) < piece.wire, // cut by the capture
		to > maxDatagram, // RFC 791: the total length has 16 bits
		piece.wire == 0, more && piece.wire&7 != 0:
		t.refuse(e)
		return
	}
	if e.datagram == 0 {
		e.datagram = a.begin(number, p.Time)
	}
	g := a.at(e.datagram)
	if !more {
		if g.total != 0 && g.total != to {
			t.refuse(e)
			return
		}
		g.total = to
	}
	g.pieces++
	if g.total != 0 && (to > g.total || g.spans > 0 && int(g.span[g.spans-1].to) > g.total) || g.pieces > maxPieces ||
		!t.store(g, e, uint16(offset), uint16(to), piece.b) {
		t.refuse(e)
		return
	}
	if g.total == 0 || g.spans != 1 || g.span[0].from != 0 || int(g.span[0].to) != g.total {
		p.FragmentPending = true
		return
	}
	b := a.whole(g)
	t.release(e)
	e.closed = true
	t.stats.Reassembled++
	d.whole = layer{b: b, wire: len(b), depth: piece.depth}
	d.offer(&e.key, p)
}

// offer decodes the whole datagram in d.whole and gives its payload to p, the piece that
// completed it. If it is a tunnel, p becomes the packet inside.
func (d *Decoder) offer(k *fragmentKey, p *Packet) {
	piece, tunnels := *p, d.tunnels
	p.Protocol, p.Fragment, p.Bare = k.proto, false, false
	d.frags.offering = true
	var v Verdict
	if k.six {
		v = d.extensions(&d.whole, p)
	} else {
		v = d.upper(&d.whole, p)
	}
	d.frags.offering = false
	if v == OK && d.tunnels != tunnels {
		return
	}
	payload, seq, ok := p.Payload, p.Seq, v == OK && !p.Bare
	*p = piece
	if !ok || !hasPorts(p.Protocol) {
		return
	}
	p.Reassembled, p.rare = payload, true
	if p.Protocol == flow.ProtoTCP {
		p.Seq = seq
	}
}

// store copies the octets that g does not have yet; those it has stay. It
// reports whether there was room.
func (t *fragments) store(g *datagram, e *fragmentEntry, from, to uint16, b []byte) bool {
	at := from
	overlaps := false
	for _, s := range g.span[:g.spans] {
		if s.to <= at {
			continue
		}
		if s.from >= to {
			break
		}
		overlaps = true
		if s.from > at && !t.copy(g, e, at, b[at-from:s.from-from]) {
			return false
		}
		at = s.to
	}
	if overlaps {
		t.stats.FragmentOverlaps++
	}
	if at < to && !t.copy(g, e, at, b[at-from:to-from]) {
		return false
	}
	return g.merge(span{from, to})
}

func (t *fragments) copy(g *datagram, e *fragmentEntry, at uint16, b []byte) bool {
	a := &t.assembly
	for len(b) > 0 {
		slot := &g.block[at/blockSize]
		for *slot == 0 {
			if *slot = a.take(); *slot != 0 {
				break
			}
			victim := a.oldest
			if victim == e.datagram {
				victim = g.next
			}
			if victim == 0 {
				return false
			}
			t.stats.FragmentsEvicted++
			t.release(t.at(a.at(victim).entry))
		}
		n := copy(a.octets(*slot)[at%blockSize:], b)
		b = b[n:]
		at += uint16(n)
	}
	return true
}

// merge adds s to the sorted, separate spans of g; false if there are too many.
func (g *datagram) merge(s span) bool {
	n := int(g.spans)
	i := 0
	for i < n && g.span[i].to < s.from {
		i++
	}
	j := i
	for j < n && g.span[j].from <= s.to {
		s.from, s.to = min(s.from, g.span[j].from), max(s.to, g.span[j].to)
		j++
	}
	if i == j && n == maxSpans {
		return false
	}
	copy(g.span[i+1:], g.span[j:n])
	g.span[i] = s
	g.spans = uint8(n + 1 - (j - i))
	return true
}

// whole returns the octets of a complete datagram, until the next call.
func (a *assembly) whole(g *datagram) []byte {
	if a.out == nil {
		a.out = make([]byte, maxBlocks*blockSize)
	}
	for i := 0; i*blockSize < g.total; i++ {
		copy(a.out[i*blockSize:], a.octets(g.block[i])[:])
	}
	return a.out[:g.total:g.total]
}

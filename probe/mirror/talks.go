package mirror

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// talk is a TCP connection of the sample: what each side has sent, as far as it was seen, and which tag its frames have.
type talk struct {
	key  uint64
	time int64
	on   *Counts
	half [2]half
}

// half is one direction, by the order of the addresses.
type half struct {
	seen   bool
	acks   bool   // acked is set
	judged bool   // the pair's VLANs are counted
	vlan   uint16 // of its first frame
	tunnel uint32 // the same, TunnelID
	next   uint32 // sequence number up to which everything was seen or given up
	acked  uint32 // the greatest number that the other side acknowledged
	parts  [parts]part
	n      uint8 // parts in use
}

// part is data beyond a hole: sequence numbers from to to, without to.
type part struct{ from, to uint32 }

const (
	parts = 6 // holes at a time; the oldest data beyond more is forgotten and taken for seen
	// talkIdle is after how long, in ns, a connection makes room for another.
	talkIdle = 5e9
	// farAhead is more than a window: such an acknowledgement is no acknowledgement.
	farAhead = 1 << 24
)

// follow takes one TCP segment of a connection in the sample, and counts acknowledged octets, and those of them that were never seen.
func (o *Observer) follow(p *decode.Packet) {
	o.sampled()
	if p.Bare || p.Fragment {
		return
	}
	up := less(&p.Src, &p.Dst) || p.Src == p.Dst && p.SrcPort < p.DstPort
	a, b, ports := &p.Src, &p.Dst, uint64(p.SrcPort)<<16|uint64(p.DstPort)
	d := 0
	if !up {
		a, b, ports, d = b, a, uint64(p.DstPort)<<16|uint64(p.SrcPort), 1
	}
	key := ports
	switch p.Tunnel {
	case flow.TunnelERSPAN, flow.TunnelGRE, flow.TunnelGTPU: // the directions have identifiers of their own
	default:
		key ^= uint64(p.TunnelID) << 32
	}
	key = mix(key)
	for _, x := range [...]*flow.Addr{a, b} {
		key = mix(key ^ binary.LittleEndian.Uint64(x[:8]))
		key = mix(key ^ binary.LittleEndian.Uint64(x[8:]))
	}
	t := &o.talks[key%tableSize]
	if t.key != key || t.on != o.on {
		if t.key != 0 && p.Time-t.time < talkIdle && p.Time >= t.time {
			return
		}
		*t = talk{key: key, on: o.on}
	}
	t.time = p.Time
	if p.Flags&decode.RST != 0 {
		return // its numbers may be anything
	}
	own, other := &t.half[d], &t.half[1-d]
	if p.Flags&decode.SYN != 0 && own.seen { // the ports are used again
		*own = half{}
		if p.Flags&decode.ACK == 0 {
			*other = half{}
		}
	}
	own.sent(p)
	if !own.judged && other.seen {
		own.judged, other.judged = true, true
		o.on.Pairs++
		switch {
		case own.tunnel != other.tunnel:
			o.on.TwoTunnels++
		case own.vlan == other.vlan:
		case own.vlan == 0 || other.vlan == 0:
			o.on.HalfTagged++
		default:
			o.on.TwoTags++
		}
	}
	if p.Flags&decode.ACK != 0 && other.seen {
		acked, unseen := other.ack(p.Ack)
		o.on.Acked += uint64(acked)
		o.on.Unseen += uint64(unseen)
		if acked > 0 {
			o.on.Acks++
		}
		if unseen > 0 {
			o.on.UnseenAcks++
		}
	}
}

func less(a, b *flow.Addr) bool {
	for i := 0; i < 16; i += 8 {
		x, y := binary.BigEndian.Uint64(a[i:]), binary.BigEndian.Uint64(b[i:])
		if x != y {
			return x < y
		}
	}
	return false
}

// sent notes the octets of a segment.
func (h *half) sent(p *decode.Packet) {
	n := p.PayloadLen
	if p.Flags&decode.SYN != 0 {
		n++
	}
	if p.Flags&decode.FIN != 0 {
		n++
	}
	from, to := p.Seq, p.Seq+n
	if !h.seen {
		h.seen, h.vlan, h.tunnel, h.next = true, p.VLAN, p.TunnelID, to
		return
	}
	ahead := int32(from - h.next)
	switch {
	case int32(to-h.next) <= 0: // seen before
	case ahead <= 0:
		h.next = to
		h.merge()
	case ahead > farAhead:
		h.next, h.n = to, 0 // another connection, or nothing was seen for long
		h.acks = false
	default:
		h.keep(part{from, to})
	}
}

// keep adds data beyond a hole, in order.
func (h *half) keep(x part) {
	for i := range h.parts[:h.n] { // it often touches what is there
		if q := &h.parts[i]; int32(x.from-q.to) <= 0 && int32(x.to-q.from) >= 0 {
			if int32(x.from-q.from) < 0 {
				q.from = x.from
			}
			if int32(x.to-q.to) > 0 {
				q.to = x.to
			}
			return
		}
	}
	if h.n == parts {
		h.next, h.n = h.parts[0].to, h.n-1
		copy(h.parts[:], h.parts[1:])
		h.merge()
	}
	i := int(h.n)
	for ; i > 0 && int32(x.from-h.parts[i-1].from) < 0; i-- {
		h.parts[i] = h.parts[i-1]
	}
	h.parts[i] = x
	h.n++
}

// merge takes the parts that next has reached.
func (h *half) merge() {
	for h.n > 0 && int32(h.parts[0].from-h.next) <= 0 {
		if int32(h.parts[0].to-h.next) > 0 {
			h.next = h.parts[0].to
		}
		h.n--
		copy(h.parts[:], h.parts[1:])
	}
}

// ack takes an acknowledgement of the other side, and returns the octets that it acknowledges anew and how many of them were never seen.
func (h *half) ack(ack uint32) (acked, unseen uint32) {
	if !h.acks {
		h.acks, h.acked = true, ack
		if int32(ack-h.next) > 0 { // what came before the capture began
			h.next = ack
			h.n = 0
		}
		return 0, 0
	}
	n := int32(ack - h.acked)
	if n <= 0 || n > farAhead {
		return 0, 0
	}
	h.acked = ack
	for int32(ack-h.next) > 0 {
		hole := ack - h.next
		if h.n > 0 && int32(h.parts[0].from-ack) < 0 {
			hole = h.parts[0].from - h.next
		}
		unseen += hole
		h.next += hole
		h.merge()
	}
	return uint32(n), min(unseen, uint32(n))
}

package meter

import "github.com/tapwatch/tapwatch/probe/decode"

// blockSize is how many packets are worked on together: enough to wait for many
// cache lines at once, few enough for packets and keys to stay in the L1 cache.
const blockSize = 32

// block is what is known of packets before their turn.
type block struct {
	keys   [blockSize]key
	hashes [blockSize]uint32
	refs   [blockSize]ref
	talks  [blockSize]ref
	conns  [blockSize]ref
	from   [blockSize]uint8
}

// ObserveAll counts the packets of a block, in order, as ObserveOn does one
// after the other, and quicker: what is known of their flows is fetched from
// memory for many packets at once. Every payload must stay valid until it
// returns; neither packets nor payloads are kept. A few dozen packets at a
// time are enough.
func (t *Table) ObserveAll(packets []decode.Packet, iface string) {
	for len(packets) > 0 {
		n := min(len(packets), blockSize)
		t.prepare(packets[:n])
		b := &t.block
		for i := range packets[:n] {
			p, k, r, from := &packets[i], &b.keys[i], b.refs[i], int(b.from[i])
			t.tick(p.Time)
			if r != 0 {
				if e := t.entries.at(r); e.steady && e.key.equal(k) && t.ordinary(e, from, p) {
					continue
				}
			}
			t.observe(p, k, b.hashes[i], r, from, iface)
		}
		packets = packets[n:]
	}
}

// prepare makes the keys, and loads what observe will need: first the slots of
// the index, then the entries they name, then what those name. Each round is
// loads that do not wait for each other; done one packet at a time, each would
// wait for the one before. The processor has no better hint in Go.
func (t *Table) prepare(packets []decode.Packet) {
	b := &t.block
	n := len(packets)
	keys, hashes, refs, from := b.keys[:n], b.hashes[:n], b.refs[:n], b.from[:n]
	for i := range packets {
		from[i] = uint8(makeKey(&keys[i], &packets[i], t.vlan))
		hashes[i] = t.hash.sum(&keys[i])
	}
	slots, mask := t.index.slots, t.index.mask
	for i, h := range hashes {
		s := slots[h&mask]
		if s.hash != h {
			s = slots[(h+1)&mask]
			if s.hash != h {
				s.ref = 0
			}
		}
		refs[i] = s.ref
	}
	talks, conns := b.talks[:n], b.conns[:n]
	for i, r := range refs {
		var talk, conn ref
		if r != 0 {
			e := t.entries.at(r)
			talk, conn = e.talk, e.conn
		}
		talks[i], conns[i] = talk, conn
	}
	var sum uint64
	for i, r := range talks {
		if r != 0 {
			k := t.talks.at(r)
			h := &k.half[from[i]&1]
			sum += uint64(h.packets) + uint64(h.bins[0]) + uint64(k.asked)
		}
		if r := conns[i]; r != 0 {
			c := t.conns.at(r)
			sum += uint64(c.end[0].start) + uint64(c.end[1].start) + uint64(c.historyLen)
		}
	}
	t.touched = sum
}

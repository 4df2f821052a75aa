package consume

import (
	"fmt"
	"slices"
)

// happen is what nobody in the protocol does.
func (w *world) happen(r rules, add func(world)) {
	for i, o := range w.owners {
		if o.alive && int8(i) != w.newest { // one that was stopped need not wake up
			n := *w
			n.bury(int8(i))
			add(n)
		}
		alone := w.owners == [modelOwners]modelOwner{}
		if !o.alive && (w.takeovers > 0 || alone) { // somebody takes over; the one before may not know it
			n := *w
			if n.takeovers > 0 {
				n.takeovers--
			}
			known := int64(-1)
			for j := range w.all {
				if w.told&(1<<j) != 0 {
					known = j
				}
			}
			p := w.kafka
			if r.forgetful {
				p.Metadata = ""
			}
			m, _ := Resume(p, Log{First: 0, Next: w.all, Known: known})
			n.owners[i] = modelOwner{alive: true, m: *m}
			n.newest = int8(i)
			add(n)
		}
	}
	if w.crashes > 0 { // the server dies: connections end, tokens that were written down stay
		n := *w
		n.crashes--
		n.inserts = [modelInserts]modelInsert{}
		for i := range n.owners {
			if n.owners[i].phase == await {
				n.owners[i].failed(r)
			}
		}
		add(n)
	}
	if w.losses > 0 { // an answer is lost or late; the insert goes on
		for i, in := range w.inserts {
			if in.used && in.owner >= 0 {
				n := *w
				n.losses--
				n.inserts[i].owner = -1
				n.owners[in.owner].failed(r)
				add(n)
			}
		}
	}
	// The group's offsets are gone, and with them its members. That takes longer
	// than a packet is on its way: no insert is waiting to be read.
	if w.forgets > 0 && w.kafka.Offset >= 0 && !slices.ContainsFunc(w.inserts[:], func(in modelInsert) bool { return in.used && in.stage == 0 }) {
		n := *w
		n.forgets--
		n.kafka, n.newest = Position{Offset: -1}, -1
		add(n)
	}
	// The table loses what it knew of tokens. In the midst of a block, or with an
	// owner that is stopped, that would be one fault too many.
	if w.wipes > 0 && w.inserts == [modelInserts]modelInsert{} {
		for i, o := range w.owners {
			if o.alive && (int8(i) != w.newest || o.phase > mark) {
				return
			}
		}
		n := *w
		n.wipes--
		n.tokens = 0
		add(n)
	}
}

// bury ends an owner; what it has sent goes on.
func (w *world) bury(i int8) {
	w.owners[i] = modelOwner{}
	for j := range w.inserts {
		if w.inserts[j].used && w.inserts[j].owner == i {
			w.inserts[j].owner = -1
		}
	}
	if w.newest == i {
		w.newest = -1
	}
}

// failed is the end of an attempt without an answer.
func (o *modelOwner) failed(r rules) {
	o.phase, o.doubt = look, true
	if r.blind {
		o.phase = send
	}
}

// answered is its end with one.
func (o *modelOwner) answered(dropped bool) {
	o.phase, o.second = tell, false
	if o.doubt || dropped {
		o.phase = count
	}
}

// act is one step of an owner.
func (w *world) act(i int8, r rules, add func(world)) (wrong string) {
	n := *w
	o := &n.owners[i]
	m := &o.m
	newest := w.newest == i
	commit := func() bool {
		if !newest {
			n.bury(i) // fenced
			return false
		}
		n.kafka = m.Commit()
		if r.commitAhead && m.To() >= 0 {
			n.kafka = Position{Offset: m.To()}
		}
		return true
	}
	switch o.phase {
	case idle:
		switch {
		case m.From() == w.all:
			if m.Unsaid() {
				if commit() {
					m.Said()
				}
				add(n)
			}
		case m.Step() == Gather && m.To() < 0:
			for to := m.From() + 1; to <= w.all; to++ {
				n := *w
				n.owners[i].m.Gathered(to, false)
				add(n)
			}
		case m.Step() == Gather:
			m.Gathered(m.To(), false)
			add(n)
		default:
			if commit() {
				m.Promised()
				o.phase = mark
				if r.batchesFirst {
					n.told |= span(m.From(), m.To())
				}
			}
			add(n)
		}
	case mark:
		o.mask, o.token, o.doubt, o.second = span(m.From(), m.To())&^w.told, 0, m.Repeated(), false
		switch {
		case o.mask == 0:
			o.phase = tell
		case m.Suspect() && !r.trusting:
			o.phase = present
		case m.Repeated() && !r.blind:
			o.phase = look
		default:
			o.phase = send
		}
		add(n)
	case present:
		if slices.ContainsFunc(w.inserts[:], func(in modelInsert) bool { return in.stage > 0 }) {
			return "" // waits
		}
		o.mask &^= w.withRows(o.mask)
		if o.phase = send; o.mask == 0 {
			o.phase = tell
		}
		add(n)
	case look, count:
		switch have := w.withRows(o.mask); {
		case have == o.mask:
			o.phase = tell
		case have != 0 && !newest: // it asks who owns the partition before it gives an alarm
			n.bury(i)
		case have != 0:
			return fmt.Sprintf("a block of %b has rows of %b", o.mask, have)
		case o.phase == look:
			o.phase = send
		case r.plainRetry:
			o.phase = tell
		case o.second:
			if o.token++; o.token == modelTokens {
				return "" // more tokens than faults can poison are not modelled
			}
			o.phase, o.doubt, o.second = send, true, false
		default:
			o.phase = calm
		}
		add(n)
	case calm:
		if !r.impatient && slices.ContainsFunc(w.inserts[:], func(in modelInsert) bool {
			return in.stage > 0 && in.from == int8(m.From()) && in.to == int8(m.To())
		}) {
			return "" // waits
		}
		o.phase, o.second = count, true
		add(n)
	case send:
		if !newest && !r.unconfirmed {
			n.bury(i)
			add(n)
			return ""
		}
		if o.doubt && (r.freshToken || r.countFirst) {
			if r.countFirst && w.withRows(o.mask) == o.mask {
				o.phase = tell
				add(n)
				return ""
			}
			if o.token++; o.token == modelTokens {
				return ""
			}
		}
		for j := range n.inserts {
			if !n.inserts[j].used {
				n.inserts[j] = modelInsert{used: true, owner: i, from: int8(m.From()), to: int8(m.To()), token: o.token, mask: o.mask}
				o.phase = await
				add(n)
				return ""
			}
		}
	case tell:
		n.told |= span(m.From(), m.To())
		m.Stored()
		*o = modelOwner{alive: true, m: *m}
		add(n)
	}
	return ""
}

// serve is one step of the server with an insert.
func (w *world) serve(i int, add func(world)) {
	n := *w
	in := &n.inserts[i]
	answer := func(dropped bool) {
		if in.owner >= 0 {
			n.owners[in.owner].answered(dropped)
		}
		*in = modelInsert{}
	}
	bit := tokenBit(in.from, in.to, in.token)
	switch in.stage {
	case 0:
		in.stage = 1
	case 1:
		if n.tokens&bit != 0 {
			answer(true)
			break
		}
		n.tokens |= bit
		in.stage = 2
	case 2:
		for j := range n.rows {
			if in.mask&(1<<j) != 0 {
				n.rows[j]++
			}
		}
		answer(false)
	}
	add(n)
}

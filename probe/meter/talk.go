package meter

import (
	"math"
	"math/bits"

	"github.com/tapwatch/tapwatch/probe/decode"
)

// talk is the behaviour of a segment of more than one packet.
type talk struct {
	half [2]half // by sender

	// A request is under way since asked, ns; 0: none. It is the connection's.
	asked                                        int64
	answerSum                                    uint64 // µs
	transactions, answerMin, answerMax, icmpErrs uint32
	icmpErr                                      uint16
	firstsN                                      uint8   // packets in firsts; maxFirsts also when there is nothing to add
	firsts                                       ref     // 0: none yet
	_                                            [8]byte // four whole cache lines
}

// half is one direction of a talk.
type half struct {
	packets                uint32
	gapMin                 uint32 // µs
	bytes, frames, payload uint64
	last                   int64  // time of the last packet, ns
	sizeSquares            uint64 // sum of the squares of IP octets
	gapSum                 uint64 // µs
	gapSquares             float64
	gapMax                 uint32
	sizeMin, sizeMax       uint16
	bins                   [sizeBins]uint32
}

const (
	sizeBins  = 8
	maxFirsts = 16
)

// firsts describes the first packets with payload of a connection.
type firsts struct {
	last  int64  // time of the last of them, ns
	turns uint16 // bit i: packet i was sent by side 1
	sizes [maxFirsts]uint16
	gaps  [maxFirsts]uint32 // µs
}

// gapMicros is the time from one packet to the next as the features count it.
func gapMicros(from, to int64) uint64 {
	if to <= from {
		return 0
	}
	return uint64(to-from) / 1000
}

func saturate16(n uint32) uint16 { return uint16(min(n, math.MaxUint16)) }
func saturate32(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// sizeBin is the element of src_size_bins that counts packets of n octets.
func sizeBin(n uint32) int { return min(max(bits.Len32(n)-6, 0), sizeBins-1) }

// add counts a packet of so many octets.
func (h *half) add(at int64, ip, frame, payload uint32) {
	size := saturate16(ip)
	if h.packets == 0 {
		h.sizeMin, h.sizeMax = size, size
	} else {
		h.sizeMin, h.sizeMax = min(h.sizeMin, size), max(h.sizeMax, size)
		us := gapMicros(h.last, at)
		gap := saturate32(us)
		if h.packets == 1 {
			h.gapMin = gap
		}
		h.gapMin, h.gapMax = min(h.gapMin, gap), max(h.gapMax, gap)
		h.gapSum += us
		f := float64(int64(us)) // signed: one instruction
		h.gapSquares += f * f
	}
	h.last = at
	h.packets++
	h.bytes += uint64(ip)
	h.frames += uint64(frame)
	h.payload += uint64(payload)
	h.sizeSquares += uint64(ip) * uint64(ip)
	h.bins[sizeBin(ip)]++
}

// volume adds p to the segment. told: its payload is new to the conversation.
func (t *Table) volume(e *entry, from int, p *decode.Packet, told bool) {
	if e.talk == 0 {
		if e.loneSide < 0 {
			e.loneSide, e.loneTold = int8(from), told
			e.lone.bytes, e.lone.frame = p.IPLen, p.FrameLen
			if !e.onlySYN() {
				e.lone.payload = p.PayloadLen
			}
			return
		}
		t.expand(e)
	}
	k := t.talks.at(e.talk)
	h := &k.half[from]
	h.add(p.Time, p.IPLen, p.FrameLen, p.PayloadLen)
	if h.packets == math.MaxUint32 {
		e.cutPending = true
	}
	if p.PayloadLen > 0 {
		if k.firstsN < maxFirsts {
			t.first(e, k, from, p.Time, p.PayloadLen)
		}
		if told {
			k.tell(uint8(from) == e.initiator, p.Time)
		}
	}
}

// expand makes a talk of the segment's only packet.
func (t *Table) expand(e *entry) {
	e.talk = t.talks.take()
	t.grown = true
	k := t.talks.at(e.talk)
	if e.segment > 0 {
		k.firstsN = maxFirsts
	}
	if e.loneSide < 0 {
		return
	}
	payload := e.lonePayload()
	k.half[e.loneSide].add(e.start, e.lone.bytes, e.lone.frame, payload)
	if payload > 0 {
		if k.firstsN < maxFirsts {
			t.first(e, k, int(e.loneSide), e.start, payload)
		}
		if e.loneTold {
			k.tell(uint8(e.loneSide) == e.initiator, e.start)
		}
	}
	e.loneSide = -1
}

// first notes one of the first packets with payload.
func (t *Table) first(e *entry, k *talk, from int, at int64, payload uint32) {
	if k.firsts == 0 {
		k.firsts = t.firsts.take()
	}
	f := t.firsts.at(k.firsts)
	i := k.firstsN
	if i > 0 {
		f.gaps[i] = saturate32(gapMicros(f.last, at))
	}
	f.sizes[i] = saturate16(payload)
	f.turns |= uint16(from) << i
	f.last = at
	k.firstsN++
}

// tell follows the turns of the conversation: what the initiator says first
// after the responder, or at all, begins a request, the next the responder
// says is its answer.
func (k *talk) tell(initiator bool, at int64) {
	switch {
	case initiator && k.asked == 0:
		k.asked = at
	case !initiator && k.asked != 0:
		us := micros(at - k.asked)
		k.asked = 0
		if k.transactions == 0 {
			k.answerMin = us
		}
		k.transactions++
		k.answerSum += uint64(us)
		k.answerMin, k.answerMax = min(k.answerMin, us), max(k.answerMax, us)
	}
}

// emptyTalk ends what is said of the segment. keep: the flow goes on now.
func (t *Table) emptyTalk(e *entry, keep bool) {
	if e.loneSide >= 0 && e.loneTold && uint8(e.loneSide) == e.initiator { // a request that may yet be answered
		t.expand(e)
	}
	e.loneSide = -1
	if e.talk == 0 {
		return
	}
	k := t.talks.at(e.talk)
	if k.firsts != 0 {
		t.firsts.give(k.firsts)
	}
	if keep || k.asked != 0 {
		*k = talk{asked: k.asked, firstsN: maxFirsts}
		return
	}
	t.talks.give(e.talk)
	e.talk = 0
}

// deviation is the sample standard deviation of n values from their sum and
// the sum of their squares, without cancellation: n times the squares less the
// square of the sum is formed in 128 bits.
func deviation(n, sum, squares uint64) float64 {
	if n < 2 {
		return 0
	}
	hi, lo := bits.Mul64(n, squares)
	sumHi, sumLo := bits.Mul64(sum, sum)
	lo, borrow := bits.Sub64(lo, sumLo, 0)
	hi, borrow = bits.Sub64(hi, sumHi, borrow)
	if borrow != 0 {
		return 0
	}
	return math.Sqrt((float64(hi)*(1<<64) + float64(lo)) / (float64(n) * float64(n-1)))
}

// gapDeviation is deviation where the squares may be too great to be exact.
func gapDeviation(n, sum uint64, squares float64) float64 {
	if squares < 1<<53 {
		return deviation(n, sum, uint64(squares))
	}
	if n < 2 {
		return 0
	}
	mean := float64(sum) / float64(n)
	return math.Sqrt(max(0, (squares-mean*float64(sum))/float64(n-1)))
}

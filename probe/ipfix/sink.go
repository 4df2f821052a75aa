package ipfix

import (
	"encoding/binary"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

const (
	headerBytes    = 16 // of a message (RFC 7011, section 3.1)
	setHeaderBytes = 4
	ipfixVersion   = 10
)

// message is a message under construction or waiting. Its header is filled when it is sent.
type message struct {
	buf     []byte
	domain  uint32
	flows   uint64 // data records, and what they count
	packets uint64
	octets  uint64
	shapes  uint32 // bit n: it holds records of shape n
	ifaces  int    // interfaces that must have been told before it
}

func (m *message) reset(domain uint32) {
	*m = message{buf: append(m.buf[:0], make([]byte, headerBytes)...), domain: domain}
}

// sink encodes the records of one worker.
type sink struct {
	x       *Exporter
	domain  uint32
	live    bool
	current *message // nil: none under construction
	set     int      // offset of the last set in it, 0 none
	last    shape    // template of that set
	scratch []byte
	in      input
	sides   [2]direction

	ifaces    map[string]uint32
	lastIface string
	lastID    uint32
	known     int // interfaces of the exporter that records of this sink may name
}

// Add encodes r. A direction without packets is no uniflow, and a biflow without any is not told.
func (s *sink) Add(r *flow.Record) {
	directions(r, &s.sides)
	s.in.Record, s.in.iface = r, s.number(r.Interface)
	if s.x.cfg.Biflow {
		first := 0
		if r.SrcPackets == 0 { // only the answer was seen
			first = 1
		}
		if r.SrcPackets|r.DstPackets != 0 {
			both := shapeOf(r, r.SrcPackets > 0)
			s.put(both, &s.sides[first], &s.sides[1-first])
		}
		return
	}
	one := shapeOf(r, false)
	for i := range s.sides {
		if s.sides[i].packets > 0 {
			s.put(one, &s.sides[i], nil)
		}
	}
}

// put appends one data record to the current message, or begins another.
func (s *sink) put(of shape, side, back *direction) {
	b := s.scratch[:0]
	for i := range s.x.layouts[of] {
		f := &s.x.layouts[of][i]
		s.in.direction = side
		if f.reverse {
			s.in.direction = back
		}
		b = f.put(b, &s.in)
	}
	s.scratch = b
	packets, octets := side.packets, side.octets
	if back != nil && of&shapeBiflow != 0 {
		packets, octets = packets+back.packets, octets+back.octets
	}
	if s.current != nil && len(s.current.buf)+setHeaderBytes+len(b) > s.x.limit {
		s.flush()
	}
	if s.current == nil && !s.take() {
		s.x.lose(&s.x.lost.queue, 1, packets, octets)
		return
	}
	m := s.current
	if s.set == 0 || s.last != of {
		s.set, s.last = len(m.buf), of
		m.buf = binary.BigEndian.AppendUint16(m.buf, firstTemplate+uint16(of))
		m.buf = append(m.buf, 0, 0)
	}
	m.buf = append(m.buf, b...)
	binary.BigEndian.PutUint16(m.buf[s.set+2:], uint16(len(m.buf)-s.set))
	m.flows++
	m.packets += packets
	m.octets += octets
	m.shapes |= 1 << of
	m.ifaces = s.known
}

// take begins a message. Live, it never waits; a file waits as long as the collector is there.
func (s *sink) take() bool {
	select {
	case <-s.x.ended:
		return false
	default:
	}
	select {
	case m := <-s.x.free:
		s.begin(m)
		return true
	default:
	}
	for !s.live && !s.x.failing.Load() {
		timer := time.NewTimer(100 * time.Millisecond) // then look again whether the collector is there
		select {
		case m := <-s.x.free:
			timer.Stop()
			s.begin(m)
			return true
		case <-s.x.ended:
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
	return false
}

func (s *sink) begin(m *message) {
	m.reset(s.domain)
	s.current, s.set = m, 0
}

// flush hands the current message to the sender.
func (s *sink) flush() {
	if s.current != nil {
		s.x.queue <- s.current // has room: there are no more messages than places
		s.current = nil
	}
}

// Cut sends what is there.
func (s *sink) Cut() { s.flush() }

// Close sends what is there.
func (s *sink) Close() error {
	s.flush()
	return nil
}

// number returns the number that stands for an interface.
func (s *sink) number(name string) uint32 {
	if name == s.lastIface && s.lastID != 0 {
		return s.lastID
	}
	id, ok := s.ifaces[name]
	if !ok {
		id, s.known = s.x.interfaceNumber(name)
		if len(s.ifaces) >= maxInterfaces {
			clear(s.ifaces)
		}
		if id != 0 {
			s.ifaces[name] = id
		}
	}
	s.lastIface, s.lastID = name, id
	return id
}

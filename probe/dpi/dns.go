package dpi

import (
	"encoding/binary"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Resource record types that are read (IANA DNS parameters).
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typeSOA   = 6
	typePTR   = 12
	typeMX    = 15
	typeTXT   = 16
	typeAAAA  = 28
	typeSRV   = 33
	typeDNAME = 39
	typeOPT   = 41

	dnsHeader = 12
	largeDNS  = 512 // octets of a message over UDP (RFC 1035, section 4.2.1)
	// noAnswer is the rcode of a query whose answer was not seen.
	noAnswer = 65535
)

// dnsState remembers the queries of a flow that wait for their answer.
type dnsState struct {
	asked   [flow.MaxList]dnsQuery // ring
	next    uint8
	waiting int // in the record and unanswered
}

type dnsQuery struct {
	name  string // "" when the place is free or the name is the root
	time  int64
	id    uint16
	qtype uint16
	place int8 // index in the record's lists, -1: in an earlier record
	open  bool
}

// forgetPlaces is told that the record's lists were emptied.
func (x *dnsState) forgetPlaces() {
	for i := range x.asked {
		x.asked[i].place = -1
	}
	x.waiting = 0
}

// DNS and its family share the format; the port says which of them it is.
func dnsProtocol() protocol {
	return dnsFamily("dns", func(b []byte, h *hint) bool { return looksDNS(b, !h.onPort) }, 53)
}

func mdnsProtocol() protocol  { return dnsFamily("mdns", looksOnPort, 5353) }
func llmnrProtocol() protocol { return dnsFamily("llmnr", looksOnPort, 5355) }
func nbnsProtocol() protocol  { return dnsFamily("nbns", looksOnPort, 137) }

func dnsFamily(app string, looks func([]byte, *hint) bool, port uint16) protocol {
	p := protocol{app: app, kind: kindDNS, udp: []uint16{port}, datagram: looks, message: (*Inspector).dnsDatagram}
	if app == "dns" {
		p.tcp, p.stream, p.parse, p.resume = p.udp, func(b []byte, _ *hint) verdict { return looksDNSStream(b) }, (*Inspector).dnsStream, looksDNSStream
	}
	return p
}

func looksOnPort(b []byte, h *hint) bool { return h.onPort && looksDNS(b, false) }

func (in *Inspector) dnsDatagram(st *State, _ side, b []byte, rec *flow.Record, now int64) {
	// The first piece of a fragmented message breaks off; that is not its fault.
	if !in.dnsMessage(st, b, rec, now) && !st.fragment {
		in.malformed(rec)
	}
	if len(b) > largeDNS && rec.App == "dns" {
		rec.Risks |= flow.RiskDNSLargePacket
	}
	if st.fragment {
		rec.Risks |= flow.RiskDNSFragmented
	}
}

// looksDNS recognises a message. Anywhere, on a port that says nothing, it must
// be an ordinary query or response with one question.
func looksDNS(b []byte, anywhere bool) bool {
	if len(b) < dnsHeader {
		return false
	}
	flags := binary.BigEndian.Uint16(b[2:])
	qd, an := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	ns, ar := binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	response := flags&0x8000 != 0
	if !anywhere {
		if flags>>11&15 > 8 || int(qd) > 64 || qd == 0 && an == 0 && !response {
			return false
		}
		if qd == 0 {
			return true
		}
		next, ok := skipName(b, dnsHeader)
		return ok && next+4 <= len(b)
	}
	if flags&0x7840 != 0 || flags&15 > 10 || qd != 1 || !response && (an != 0 || ns != 0 || ar > 2 || flags&15 != 0) || an > 256 || ns > 64 || ar > 64 {
		return false
	}
	next, ok := skipName(b, dnsHeader)
	if !ok || next+4 > len(b) {
		return false
	}
	qtype, class := binary.BigEndian.Uint16(b[next:]), binary.BigEndian.Uint16(b[next+2:])
	if qtype == 0 || qtype > 260 && qtype < 32768 || class != 1 && class != 3 && class != 255 {
		return false
	}
	next += 4
	if an+ns+ar == 0 {
		return next == len(b)
	}
	_, ok = skipName(b, next)
	return ok && next < len(b)
}

// looksDNSStream recognises a message with the length before it (RFC 1035,
// section 4.2.2).
func looksDNSStream(b []byte) verdict {
	if len(b) >= 2 {
		if size := binary.BigEndian.Uint16(b); size < dnsHeader+5 {
			return no
		}
	}
	if len(b) >= 8 {
		if flags := binary.BigEndian.Uint16(b[4:]); flags&0x7840 != 0 || binary.BigEndian.Uint16(b[6:]) != 1 {
			return no
		}
	}
	if len(b) < 2+dnsHeader {
		return undecided
	}
	size := int(binary.BigEndian.Uint16(b))
	m := b[2:min(2+size, len(b))]
	if looksDNS(m, true) {
		return yes
	}
	if len(m) < size && len(m) < dnsHeader+260 {
		return undecided
	}
	return no
}

// dnsStream takes messages off a TCP stream.
func (in *Inspector) dnsStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if len(b) < 2 {
		return 0
	}
	s, size := &st.half[d], int(binary.BigEndian.Uint16(b))
	if len(rec.DNSNames) >= flow.MaxList {
		st.blocked = true
		return 0
	}
	const large = streamLimit / 4
	if len(b) < 2+min(size, large) {
		return 0
	}
	if size > large { // a zone transfer: the beginning tells enough
		rec.Cut |= flow.CutStream
	}
	m := b[2:min(2+size, len(b))]
	if !looksDNS(m, false) || !in.dnsMessage(st, m, rec, now) {
		in.malformed(rec)
		if !looksDNS(m, false) {
			in.cutStream(rec)
			s.lost = true
			return len(b)
		}
	}
	return st.stepOver(d, 2+size, b)
}

// dnsMessage lists the names of a query, or notes rcode, delay and answers of a
// response. False: the message breaks off or contradicts itself; what came
// before that place is kept.
func (in *Inspector) dnsMessage(st *State, b []byte, rec *flow.Record, now int64) bool {
	if len(b) < dnsHeader {
		return false
	}
	if st.dns == nil {
		st.dns = in.newDNS()
	}
	x, id, flags := st.dns, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	response, rcode := flags&0x8000 != 0, flags&15
	questions, answers := int(binary.BigEndian.Uint16(b[4:])), int(binary.BigEndian.Uint16(b[6:]))
	off := dnsHeader
	for i := 0; i < questions; i++ {
		name, next, ok := in.dnsName(b, off, rec)
		if !ok || next+4 > len(b) {
			return false
		}
		qtype := binary.BigEndian.Uint16(b[next:])
		off = next + 4
		switch {
		case i >= flow.MaxList:
			rec.Cut |= flow.CutList
		case !response:
			if len(rec.DNSNames) == 0 {
				in.serviceOf(name, rec)
			}
			if rec.App == "dns" {
				rec.Risks |= queryRisks(name)
			}
			x.ask(id, qtype, name, now, rec)
		case !x.answer(id, qtype, name, rcode, now, rec):
			listName(rec, name, qtype, rcode)
		}
	}
	if !response {
		return true
	}
	if rcode != 0 {
		rec.Risks |= flow.RiskErrorCodeDetected
		rec.AppErrors++
	}
	for i := 0; i < answers; i++ {
		owner := off
		next, ok := skipName(b, off)
		if !ok || next+10 > len(b) {
			return false
		}
		rrtype, size := binary.BigEndian.Uint16(b[next:]), int(binary.BigEndian.Uint16(b[next+8:]))
		off = next + 10 + size
		if off > len(b) {
			return false
		}
		if questions == 0 && i == 0 { // multicast DNS answers unasked (RFC 6762, section 6)
			if name, _, ok := in.dnsName(b, owner, rec); ok {
				listName(rec, name, rrtype, rcode)
			}
		}
		if rrtype == typeOPT {
			continue
		}
		if len(rec.DNSAnswers) >= flow.MaxList {
			rec.Cut |= flow.CutList
			return true
		}
		rec.DNSAnswers = append(rec.DNSAnswers, in.dnsData(b, next+10, off, rrtype, rec))
	}
	return true
}

func (x *dnsState) ask(id, qtype uint16, name string, now int64, rec *flow.Record) {
	if !listName(rec, name, qtype, noAnswer) {
		return
	}
	q := &x.asked[x.next%flow.MaxList]
	x.next++
	if q.open && q.place >= 0 {
		x.waiting--
	}
	*q = dnsQuery{name: name, time: now, id: id, qtype: qtype, place: int8(len(rec.DNSNames) - 1), open: true}
	x.waiting++
}

// answer notes the response for every query it answers: a repeated query has
// the same id. False: none was seen.
func (x *dnsState) answer(id, qtype uint16, name string, rcode uint16, now int64, rec *flow.Record) bool {
	found := false
	for k := range uint8(len(x.asked)) {
		q := &x.asked[(x.next+k)%flow.MaxList] // oldest first
		if !q.open || q.id != id || q.qtype != qtype || !strings.EqualFold(q.name, name) {
			continue
		}
		if q.place >= 0 && int(q.place) < len(rec.DNSRcodes) {
			rec.DNSRcodes[q.place] = rcode
			if now >= q.time {
				rec.DNSLatencies[q.place] = microseconds(now - q.time)
			}
			x.waiting--
		}
		if !found && rec.DNSLatency == 0 && now >= q.time {
			rec.DNSLatency = microseconds(now - q.time)
		}
		found, q.open, q.name = true, false, ""
	}
	return found
}

func listName(rec *flow.Record, name string, qtype, rcode uint16) bool {
	if len(rec.DNSNames) >= flow.MaxList {
		rec.Cut |= flow.CutList
		return false
	}
	rec.DNSNames = append(rec.DNSNames, name)
	rec.DNSQTypes = append(rec.DNSQTypes, qtype)
	rec.DNSRcodes = append(rec.DNSRcodes, rcode)
	rec.DNSLatencies = append(rec.DNSLatencies, 0)
	return true
}

func (in *Inspector) newDNS() *dnsState {
	if n := len(in.freeD); n > 0 {
		x := in.freeD[n-1]
		in.freeD = in.freeD[:n-1]
		return x
	}
	return new(dnsState)
}

package dpi

import "github.com/tapwatch/tapwatch/proto/flow"

// SNMP versions 1, 2c (RFC 1157, RFC 3416) and 3 (RFC 3412, section 6). The
// community of the first two is a password in clear and is not kept.
func snmpProtocol() protocol {
	return protocol{app: "snmp", udp: []uint16{161, 162}, datagram: func(b []byte, _ *hint) bool { return looksSNMP(b) },
		message: (*Inspector).snmpMessage}
}

// snmpPDUs are the names of the tags from 0xa0 on (RFC 3416, section 3).
var snmpPDUs = [...]string{"GetRequest", "GetNextRequest", "Response", "SetRequest", "Trap", "GetBulkRequest", "InformRequest", "Trap", "Report"}

// snmpErrors are the names of error-status (RFC 3416, section 3).
var snmpErrors = [...]string{"noError", "tooBig", "noSuchName", "badValue", "readOnly", "genErr", "noAccess", "wrongType", "wrongLength",
	"wrongEncoding", "wrongValue", "noCreation", "inconsistentValue", "resourceUnavailable", "commitFailed", "undoFailed", "authorizationError",
	"notWritable", "inconsistentName"}

// looksSNMP wants a sequence that fills the datagram and begins as a message does.
func looksSNMP(b []byte) bool {
	tag, head, size := berHead(b)
	if tag != berSequence || head < 2 || head+size != len(b) || size < 12 {
		return false
	}
	r := ber{b: b[head:]}
	switch version := r.integer(berInteger); version {
	case 0, 1:
		r.take(berOctets)
		tag, _ := r.next()
		return !r.bad && tag >= 0xa0 && int(tag-0xa0) < len(snmpPDUs)
	case 3:
		h := r.into(berSequence)
		h.integer(berInteger)
		h.integer(berInteger)
		return !h.bad && len(h.take(berOctets)) == 1 && r.peek() == berOctets
	}
	return false
}

func (in *Inspector) snmpMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	if !looksSNMP(b) {
		in.malformed(rec)
		return
	}
	r := ber{b: b}
	r = r.into(berSequence)
	switch version := r.integer(berInteger); version {
	case 0, 1:
		rec.AppVersion = "v1"
		if version == 1 {
			rec.AppVersion = "v2c"
		}
		if len(r.take(berOctets)) > 0 {
			rec.Risks |= flow.RiskClearTextCredentials
		}
		in.snmpPDU(st, &r, rec)
	case 3:
		rec.AppVersion = "v3"
		r.take(berSequence)
		usm := ber{b: r.take(berOctets)} // RFC 3414, section 2.4
		usm = usm.into(berSequence)
		usm.take(berOctets)
		usm.integer(berInteger)
		usm.integer(berInteger)
		in.setOnce(&rec.User, usm.take(berOctets), rec)
		if r.peek() == berSequence { // not encrypted
			scoped := r.into(berSequence)
			scoped.take(berOctets)
			scoped.take(berOctets)
			in.snmpPDU(st, &scoped, rec)
		}
	}
}

// snmpPDU lists a request with its first variable, and how many more there
// are, or the status of a response.
func (in *Inspector) snmpPDU(st *State, r *ber, rec *flow.Record) {
	tag, pdu := r.next()
	if r.bad || tag < 0xa0 || int(tag-0xa0) >= len(snmpPDUs) {
		in.malformed(rec)
		return
	}
	p := ber{b: pdu}
	name := snmpPDUs[tag-0xa0]
	if tag == 0xa4 { // the trap of version 1 has a form of its own: the enterprise comes first
		in.scratch = appendOID(append(in.scratch[:0], "Trap "...), p.take(berOID))
		in.addRequest(st, in.scratch, rec)
		return
	}
	p.integer(berInteger)
	status := p.integer(berInteger)
	p.integer(berInteger)
	list := p.into(berSequence)
	switch tag {
	case 0xa2, 0xa8:
		text := name
		if tag == 0xa2 && status >= 0 && int(status) < len(snmpErrors) {
			text = snmpErrors[status]
		}
		if tag == 0xa2 && status != 0 || tag == 0xa8 && rec.User != "" {
			rec.AppErrors++
		}
		in.addResponse(st, append(in.scratch[:0], text...), rec)
		return
	}
	in.scratch = append(in.scratch[:0], name...)
	if len(list.b) > 0 {
		first := list.into(berSequence)
		in.scratch = appendOID(append(in.scratch, ' '), first.take(berOID))
	}
	more := uint64(0)
	for len(list.b) > 0 && !list.bad && more < 1000 {
		list.next()
		more++
	}
	if more > 0 {
		in.scratch = appendInt(append(in.scratch, " +"...), more)
	}
	in.addRequest(st, in.scratch, rec)
}

package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Oracle: the Transparent Network Substrate, the layer under SQL*Net (Oracle
// Net Services reference; packet layout as public dissectors agree on it).
func oracleProtocol() protocol {
	return protocol{app: "oracle", tcp: []uint16{1521, 1522, 1526}, stream: looksTNS, parse: (*Inspector).tnsStream}
}

// Packet types.
const (
	tnsHeader   = 8
	tnsConnect  = 1
	tnsAccept   = 2
	tnsRefuse   = 4
	tnsRedirect = 5
	tnsData     = 6
	tnsResend   = 11
)

// looksTNS takes a connect whose data are a description in brackets, or on the
// port any packet that fills its segment.
func looksTNS(b []byte, h *hint) verdict {
	if len(b) < tnsHeader {
		if len(b) > 4 && (b[4] == 0 || b[4] > 14) || len(b) > 3 && b[2]|b[3] != 0 {
			return no
		}
		return undecided
	}
	size := int(binary.BigEndian.Uint16(b))
	if size < tnsHeader || b[2]|b[3] != 0 || b[4] == 0 || b[4] > 14 || b[6]|b[7] != 0 {
		return no
	}
	if b[4] == tnsConnect && size >= 58 {
		if len(b) < 30 {
			return undecided
		}
		off, n := int(binary.BigEndian.Uint16(b[26:])), int(binary.BigEndian.Uint16(b[24:]))
		if version := binary.BigEndian.Uint16(b[8:]); version < 300 || version > 330 || off < 34 || n == 0 {
			return no
		}
		return yes
	}
	if h.onPort && size == len(b) && (b[4] == tnsAccept || b[4] == tnsRefuse || b[4] == tnsRedirect || b[4] == tnsResend || b[4] == tnsData) {
		return yes
	}
	return no
}

func (in *Inspector) tnsStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < tnsHeader {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	size := int(binary.BigEndian.Uint16(b))
	if size < tnsHeader || b[4] > 20 || b[4] == tnsData && st.word[0] != 0 { // what runs over it is not published
		return in.endSide(st, d, b)
	}
	if size > streamLimit/4 {
		return st.stepOver(d, size, b)
	}
	if len(b) < size {
		return 0
	}
	m := b[:size]
	switch m[4] {
	case tnsConnect:
		if size < 34 {
			break
		}
		rec.AppVersion = in.printable(appendInt(in.scratch[:0], binary.BigEndian.Uint16(m[8:])), rec)
		off := int(binary.BigEndian.Uint16(m[26:]))
		in.tnsDescription(st, m[min(off, len(m)):], rec)
	case tnsAccept:
		in.addResponse(st, append(in.scratch[:0], "ACCEPT"...), rec)
		st.word[0] = 1
	case tnsRefuse:
		rec.AppErrors++
		code := tnsValue(m[tnsHeader:], "(ERR=")
		in.addResponse(st, in.verb("REFUSE", code), rec)
	case tnsRedirect:
		in.addResponse(st, append(in.scratch[:0], "REDIRECT"...), rec)
	case tnsData:
		if i := bytes.Index(m, []byte("(DESCRIPTION=")); i >= 0 && d == sideSrc { // too long for the connect packet
			in.tnsDescription(st, m[i:], rec)
		}
	}
	return size
}

// tnsDescription reads "(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=x)(CID=(PROGRAM=…)(HOST=…)(USER=…))))".
func (in *Inspector) tnsDescription(st *State, b []byte, rec *flow.Record) {
	cid := b
	if i := indexFold(b, "(CID="); i >= 0 {
		cid = b[i:]
	}
	in.setOnce(&rec.User, tnsValue(cid, "(USER="), rec)
	in.setOnce(&rec.AppHost, tnsValue(cid, "(HOST="), rec)
	in.software(sideSrc, tnsValue(cid, "(PROGRAM="), rec)
	service := tnsValue(b, "(SERVICE_NAME=")
	if service == nil {
		service = tnsValue(b, "(SID=")
	}
	if service == nil {
		service = tnsValue(b, "(COMMAND=")
	}
	in.addRequest(st, in.verb("CONNECT", service), rec)
}

// tnsValue is the value behind a key, up to its bracket.
func tnsValue(b []byte, key string) []byte {
	i := indexFold(b, key)
	if i < 0 {
		return nil
	}
	b = b[i+len(key):]
	if j := bytes.IndexByte(b, ')'); j >= 0 {
		return b[:j]
	}
	return nil
}

// indexFold finds s, in capital letters, in any case; -1: it is not there.
func indexFold(b []byte, s string) int {
	for i := 0; i+len(s) <= len(b); i++ {
		if startsFold(b[i:], s) {
			return i
		}
	}
	return -1
}

package dpi

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// TFTP (RFC 1350, options RFC 2347). The server answers from a port of its own:
// that flow is expected.
func tftpProtocol() protocol {
	return protocol{app: "tftp", udp: []uint16{69}, datagram: looksTFTP, message: (*Inspector).tftpMessage}
}

const (
	tftpRead  = 1
	tftpWrite = 2
	tftpData  = 3
	tftpAck   = 4
	tftpError = 5
	tftpOAck  = 6
)

func looksTFTP(b []byte, h *hint) bool {
	if len(b) < 4 || b[0] != 0 || b[1] == 0 || b[1] > tftpOAck {
		return false
	}
	switch b[1] {
	case tftpRead, tftpWrite:
		file, mode := cstring(b[2:])
		mode, _ = cstring(mode)
		return len(file) > 0 && plain(file) && (isFold(mode, "OCTET") || isFold(mode, "NETASCII") || isFold(mode, "MAIL"))
	case tftpData, tftpAck:
		return h.expected == "tftp" || h.onPort
	case tftpError:
		return (h.expected == "tftp" || h.onPort) && b[2] == 0 && b[3] < 9
	}
	return h.expected == "tftp"
}

func (in *Inspector) tftpMessage(st *State, d side, b []byte, rec *flow.Record, now int64) {
	if len(b) < 4 {
		return
	}
	switch b[1] {
	case tftpRead, tftpWrite:
		file, _ := cstring(b[2:])
		verb := "RRQ"
		if b[1] == tftpWrite {
			verb = "WRQ"
		}
		in.addRequest(st, in.verb(verb, file), rec)
		e := expectation{addr: rec.SrcIP, port: rec.SrcPort, proto: protoUDP, until: now + expectFor, app: "tftp"}
		if d == sideDst {
			e.addr, e.port = rec.DstIP, rec.DstPort
		}
		if e.addr.Netip() != (netip.Addr{}) {
			in.expected.add(e)
		}
	case tftpError:
		rec.AppErrors++
		text, _ := cstring(b[4:])
		in.scratch = appendInt(append(in.scratch[:0], "ERROR "...), binary.BigEndian.Uint16(b[2:]))
		in.scratch = append(append(in.scratch, ' '), bytes.TrimSpace(text)...)
		in.addResponse(st, in.scratch, rec)
		st.finished = true
	case tftpData, tftpAck: // blocks tell nothing
		st.finished = true
	}
}

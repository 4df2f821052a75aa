package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// NetBIOS datagrams (RFC 1002, section 4.4): who speaks to which name, and what
// the browser protocol within says (MS-BRWS, section 2.2).
func nbdgmProtocol() protocol {
	return protocol{app: "nbdgm", udp: []uint16{138}, datagram: func(b []byte, h *hint) bool { return h.onPort && looksNBDatagram(b) },
		message: (*Inspector).nbDatagram}
}

const nbdgmHeader = 14

// looksNBDatagram reads the header: types 16 to 22, and an encoded name.
func looksNBDatagram(b []byte) bool {
	if len(b) < 10 || b[0] < 0x10 || b[0] > 0x16 || b[1]&0xf0 != 0 {
		return false
	}
	return b[0] > 0x12 || len(b) >= nbdgmHeader+68 && b[nbdgmHeader] == 32
}

func (in *Inspector) nbDatagram(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	if !looksNBDatagram(b) || b[0] > 0x12 {
		if len(b) > 0 && b[0] == 0x13 {
			rec.AppErrors++
		}
		return
	}
	names := b[nbdgmHeader:]
	if d == sideSrc {
		in.netbiosHost(names[1:33], rec)
	}
	for i := 0; i < 2; i++ { // over the source's name, with its scope, to the destination's
		n := 0
		for n < len(names) && names[n] != 0 {
			n += 1 + int(names[n])
		}
		if i == 0 && n+34 <= len(names) && names[n+1] == 32 {
			in.scratch = appendNetBIOS(append(in.scratch[:0], "DATAGRAM "...)[:9], names[n+2:n+34])
			names = names[n+1:]
			continue
		}
		if i == 0 {
			return
		}
		names = names[min(n+1, len(names)):]
	}
	if m := names; len(m) > smb1Header && string(m[:4]) == "\xffSMB" && m[4] == 0x25 {
		rec.Risks |= flow.RiskUnsafeProtocol
		if words, data := smb1Block(m, smb1Header); len(words) >= 34 {
			off, size := int(binary.LittleEndian.Uint16(words[24:])), int(binary.LittleEndian.Uint16(words[22:]))
			box, _ := cstring(data)
			in.scratch = append(append(in.scratch, ' '), box...)
			if body := smbBlob(m, off, size); len(body) > 0 {
				in.browser(body, rec)
			}
		}
	}
	in.addRequest(st, in.scratch, rec)
}

// browser adds the browser's command to the text being built.
func (in *Inspector) browser(b []byte, rec *flow.Record) {
	switch b[0] {
	case 1, 15: // host announcement, local master: the version is of the system
		in.scratch = append(in.scratch, " HostAnnouncement"...)
		if len(b) >= 24 {
			n := len(in.scratch)
			in.scratch = append(append(in.scratch, "Windows "...), '0'+b[22]%10, '.', '0'+b[23]%10)
			in.software(sideSrc, in.scratch[n:], rec)
			in.scratch = in.scratch[:n]
		}
	case 2:
		in.scratch = append(in.scratch, " AnnouncementRequest"...)
	case 8:
		in.scratch = append(in.scratch, " Election"...)
	case 9:
		in.scratch = append(in.scratch, " GetBackupList"...)
	case 12:
		in.scratch = append(in.scratch, " DomainAnnouncement"...)
	}
}

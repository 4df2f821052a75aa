package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Commands of SMB 2 (MS-SMB2, section 2.2.1).
const (
	smb2Negotiate = 0
	smb2Session   = 1
	smb2Logoff    = 2
	smb2Tree      = 3
	smb2Create    = 5
	smb2SetInfo   = 17
)

// smb2Dialect names the revisions of section 2.2.4; "" is none yet.
func smb2Dialect(n uint16) string {
	switch n {
	case 0x0202:
		return "2.0.2"
	case 0x0210:
		return "2.1"
	case 0x0300:
		return "3.0"
	case 0x0302:
		return "3.0.2"
	case 0x0311:
		return "3.1.1"
	}
	return ""
}

// smb2Command reads one command and returns where the next one in the same
// message begins, 0 for none.
func (in *Inspector) smb2Command(st *State, m []byte, rec *flow.Record) int {
	if len(m) < smb2Header+4 || m[0] != 0xfe || binary.LittleEndian.Uint16(m[4:]) != smb2Header {
		return 0
	}
	command, next := binary.LittleEndian.Uint16(m[12:]), int(binary.LittleEndian.Uint32(m[20:])&0xffffff)
	at := func(i int) int { return int(binary.LittleEndian.Uint16(m[i:])) }
	if m[16]&1 != 0 { // SMB2_FLAGS_SERVER_TO_REDIR
		status := binary.LittleEndian.Uint32(m[8:])
		switch {
		case command == smb2Negotiate:
			if len(m) >= smb2Header+6 {
				if v := smb2Dialect(binary.LittleEndian.Uint16(m[smb2Header+4:])); v != "" {
					rec.AppVersion = v
				}
			}
		case command == smb2Session && len(m) >= smb2Header+8:
			in.ntlm(smbBlob(m, at(smb2Header+4), at(smb2Header+6)), rec)
		}
		in.smbStatus(st, command == smb2Session || command == smb2Tree || command == smb2Create || command == smb2SetInfo && st.setNames() > 0, status, rec)
		if command == smb2SetInfo && st.setNames() > 0 {
			st.count[0]--
		}
		return next
	}
	switch {
	case command == smb2Session && len(m) >= smb2Header+16:
		blob := smbBlob(m, at(smb2Header+12), min(at(smb2Header+14), len(m)-at(smb2Header+12)))
		in.ntlm(blob, rec)
		in.scratch = in.appendTicket(append(in.scratch[:0], "SESSION_SETUP"...), blob, rec)
		in.addRequest(st, in.scratch, rec)
	case command == smb2Tree && len(m) >= smb2Header+8:
		in.addRequest(st, in.verbWide("TREE_CONNECT", smbBlob(m, at(smb2Header+4), at(smb2Header+6))), rec)
	case command == smb2Create && len(m) >= smb2Header+56:
		in.addRequest(st, in.verbWide("CREATE", smbBlob(m, at(smb2Header+44), at(smb2Header+46))), rec)
	case command == smb2SetInfo && len(m) >= smb2Header+12 && m[smb2Header+2] == 1 && m[smb2Header+3] == 10: // FileRenameInformation
		info := smbBlob(m, at(smb2Header+8), int(min(binary.LittleEndian.Uint32(m[smb2Header+4:]), smbLargest)))
		if len(info) > 20 {
			in.addRequest(st, in.verbWide("RENAME", info[20:min(len(info), 20+int(min(binary.LittleEndian.Uint32(info[16:]), smbLargest)))]), rec)
			st.count[0]++
		}
	}
	return next
}

// setNames is how many renames wait for their answer; count[0], whoever asked.
func (st *State) setNames() uint32 { return st.count[0] }

package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Commands of SMB 1 (MS-CIFS, section 2.2.2.1).
const (
	smb1Delete    = 0x06
	smb1Rename    = 0x07
	smb1Open      = 0x2d
	smb1Negotiate = 0x72
	smb1Session   = 0x73
	smb1Tree      = 0x75
	smb1Create    = 0xa2
)

// smb1Command reads a message with the commands chained to it.
func (in *Inspector) smb1Command(st *State, d side, m []byte, rec *flow.Record) {
	command, response, wide := m[4], m[9]&0x80 != 0, m[11]&0x80 != 0
	// A client may ask for SMB 2 in the words of SMB 1 (MS-SMB2, section 3.3.5.3.1).
	if command != smb1Negotiate || response {
		rec.Risks |= flow.RiskSMBInsecureVersion | flow.RiskUnsafeProtocol
		if rec.AppVersion == "" {
			rec.AppVersion = "1"
		}
	}
	if response {
		status := binary.LittleEndian.Uint32(m[5:])
		if m[11]&0x40 == 0 && status != 0 { // error class and code of DOS
			status = 0xc0000001
		}
		switch command {
		case smb1Session:
			in.smb1SessionReply(m, wide, rec)
			fallthrough
		case smb1Tree, smb1Create, smb1Open, smb1Delete, smb1Rename:
			in.smbStatus(st, true, status, rec)
			return
		}
		in.smbStatus(st, false, status, rec)
		return
	}
	at := smb1Header
	for range 4 {
		words, data := smb1Block(m, at)
		if words == nil && data == nil {
			return
		}
		in.smb1Request(st, m, command, words, data, wide, rec)
		chained := command == smb1Session || command == smb1Tree || command == smb1Create || command == smb1Open
		if !chained || len(words) < 4 || words[0] == 0xff || int(binary.LittleEndian.Uint16(words[2:])) <= at {
			return
		}
		command, at = words[0], int(binary.LittleEndian.Uint16(words[2:]))
	}
}

// smb1Block cuts parameters and data of a command out of the message; of data
// that break off there is what there is.
func smb1Block(m []byte, at int) (words, data []byte) {
	if at >= len(m) {
		return nil, nil
	}
	n := 2 * int(m[at])
	if at+1+n+2 > len(m) {
		return nil, nil
	}
	words = m[at+1 : at+1+n]
	data = m[at+1+n:]
	return words, data[2:min(len(data), 2+int(binary.LittleEndian.Uint16(data)))]
}

func (in *Inspector) smb1Request(st *State, m []byte, command byte, words, data []byte, wide bool, rec *flow.Record) {
	at := func(i int) int { return int(binary.LittleEndian.Uint16(words[i:])) }
	switch {
	case command == smb1Session:
		switch len(words) {
		case 24:
			n := min(at(14), len(data))
			in.ntlm(data[:n], rec)
			system, _ := in.smb1Text(m, data[n:], wide)
			in.setText(&rec.ClientSoftware, system, wide, rec)
		case 26: // without extended security: hashes, account, domain, system
			hashes := at(14) + at(16)
			if hashes < len(data) {
				rest := data[hashes:]
				user, rest := in.smb1Text(m, rest, wide)
				in.setText(&rec.User, user, wide, rec)
				domain, rest := in.smb1Text(m, rest, wide)
				in.setText(&rec.Domain, domain, wide, rec)
				system, _ := in.smb1Text(m, rest, wide)
				in.setText(&rec.ClientSoftware, system, wide, rec)
			}
		}
		in.addRequest(st, append(in.scratch[:0], "SESSION_SETUP"...), rec)
	case command == smb1Tree && len(words) >= 8:
		name, _ := in.smb1Text(m, data[min(at(6), len(data)):], wide)
		in.smb1Named(st, "TREE_CONNECT", name, wide, rec)
	case command == smb1Create && len(words) >= 8:
		name, _ := in.smb1Text(m, data, wide)
		in.smb1Named(st, "CREATE", name, wide, rec)
	case command == smb1Open:
		name, _ := in.smb1Text(m, data, wide)
		in.smb1Named(st, "OPEN", name, wide, rec)
	case command == smb1Delete && len(data) > 1:
		name, _ := in.smb1Text(m, data[1:], wide)
		in.smb1Named(st, "DELETE", name, wide, rec)
	case command == smb1Rename && len(data) > 1:
		name, _ := in.smb1Text(m, data[1:], wide)
		in.smb1Named(st, "RENAME", name, wide, rec)
	}
}

func (in *Inspector) smb1Named(st *State, verb string, name []byte, wide bool, rec *flow.Record) {
	if wide {
		in.addRequest(st, in.verbWide(verb, name), rec)
	} else {
		in.addRequest(st, in.verb(verb, name), rec)
	}
}

// smb1SessionReply notes what the server says it is.
func (in *Inspector) smb1SessionReply(m []byte, wide bool, rec *flow.Record) {
	words, data := smb1Block(m, smb1Header)
	if len(words) == 8 {
		n := min(int(binary.LittleEndian.Uint16(words[6:])), len(data))
		in.ntlm(data[:n], rec)
		data = data[n:]
	}
	system, _ := in.smb1Text(m, data, wide)
	in.setText(&rec.ServerSoftware, system, wide, rec)
}

func (in *Inspector) setText(s *string, b []byte, wide bool, rec *flow.Record) {
	if wide {
		in.setWide(s, b, rec)
	} else {
		in.setOnce(s, b, rec)
	}
}

// smb1Text cuts one string off; wide ones begin at an even place in the message.
func (in *Inspector) smb1Text(m, b []byte, wide bool) (s, rest []byte) {
	if !wide {
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return b[:i], b[i+1:]
		}
		return b, nil
	}
	if len(b) > 0 && (cap(m)-cap(b))&1 != 0 {
		b = b[1:]
	}
	for i := 0; i+1 < len(b); i += 2 {
		if b[i]|b[i+1] == 0 {
			return b[:i], b[i+2:]
		}
	}
	return b, nil
}

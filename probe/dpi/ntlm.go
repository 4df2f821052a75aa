package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// ntlm looks for an NTLM message (MS-NLMP, section 2.2.1) in a security blob,
// bare or within SPNEGO, and notes who logs in from which host, and what the
// server is. It tells whether there was one.
func (in *Inspector) ntlm(b []byte, rec *flow.Record) bool {
	i := bytes.Index(b, []byte("NTLMSSP\x00"))
	if i < 0 || len(b)-i < 12 {
		return false
	}
	b = b[i:]
	switch binary.LittleEndian.Uint32(b[8:]) {
	case 2: // CHALLENGE_MESSAGE: VERSION at 48 if there is room before the target's name
		if len(b) >= 56 && binary.LittleEndian.Uint32(b[20:])&0x02000000 != 0 && b[48] != 0 && rec.ServerSoftware == "" {
			s := append(in.scratch[:0], "Windows "...)
			s = append(appendInt(s, b[48]), '.')
			s = append(appendInt(s, b[49]), '.')
			in.scratch = appendInt(s, binary.LittleEndian.Uint16(b[50:]))
			in.software(sideDst, in.scratch, rec)
		}
	case 3: // AUTHENTICATE_MESSAGE
		if len(b) < 52 {
			return true
		}
		// The flags say which encoding; without them old clients write OEM text.
		unicode := len(b) < 64 || binary.LittleEndian.Uint32(b[60:])&1 != 0
		in.ntlmField(&rec.Domain, b, 28, unicode, rec)
		in.ntlmField(&rec.User, b, 36, unicode, rec)
		in.ntlmField(&rec.AppHost, b, 44, unicode, rec)
	}
	return true
}

// ntlmField reads the text whose length and place are at `at`.
func (in *Inspector) ntlmField(s *string, b []byte, at int, unicode bool, rec *flow.Record) {
	size, off := int(binary.LittleEndian.Uint16(b[at:])), binary.LittleEndian.Uint32(b[at+4:])
	if size == 0 || off > uint32(len(b)) || size > len(b)-int(off) {
		return
	}
	if v := b[off : int(off)+size]; unicode {
		in.setWide(s, v, rec)
	} else {
		in.setOnce(s, v, rec)
	}
}

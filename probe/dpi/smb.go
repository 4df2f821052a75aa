package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// SMB 1 (MS-CIFS), 2 and 3 (MS-SMB2) over TCP, with or without a NetBIOS
// session (RFC 1002, section 4.3) in front. Names of shares and files are the
// requests, the status of what asked for them the responses; reads and writes
// are stepped over. NTLM within gives user, domain and host.
func smbProtocol() protocol {
	return protocol{app: "smb", tcp: []uint16{445, 139}, stream: looksSMB, parse: (*Inspector).smbStream,
		resume: func(b []byte) verdict { return looksSMBMessage(b) }}
}

const (
	nbssHeader  = 4
	nbssRequest = 0x81
	smbLargest  = 6 << 10 // of a longer message only the beginning is read
	smb2Header  = 64
	smb1Header  = 32
)

// looksSMB recognises a message, or a NetBIOS session request: both names are
// 32 letters.
func looksSMB(b []byte, h *hint) verdict {
	if len(b) > 0 && b[0] == nbssRequest {
		switch {
		case len(b) >= 4 && (b[1] != 0 || b[2] != 0 || b[3] != 68):
			return no
		case len(b) >= 5 && b[4] != 32:
			return no
		case len(b) < 72:
			return undecided
		case b[38] != 32:
			return no
		}
		return yes
	}
	return looksSMBMessage(b)
}

func looksSMBMessage(b []byte) verdict {
	if len(b) > 0 && b[0] != 0 {
		return no
	}
	if len(b) < 8 {
		if len(b) > 4 && (b[4] < 0xfc || len(b) > 5 && b[5] != 'S' || len(b) > 6 && b[6] != 'M') {
			return no
		}
		return undecided
	}
	size := nbssSize(b)
	if b[4] < 0xfc || string(b[5:8]) != "SMB" || size < smb1Header {
		return no
	}
	return yes
}

func nbssSize(b []byte) int { return int(b[1])<<16 | int(b[2])<<8 | int(b[3]) }

func (in *Inspector) smbStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	s := &st.half[d]
	if len(b) < nbssHeader {
		return 0
	}
	if in.crowded(st, 10, rec) {
		return 0
	}
	size := nbssSize(b)
	if b[0] != 0 { // session service: names once, keep-alives
		size &= 0x1ffff
		if size > 128 || b[0] < 0x81 || b[0] > 0x85 {
			return in.smbLost(st, s, len(b), rec)
		}
		if len(b) < nbssHeader+size {
			return 0
		}
		in.nbssMessage(st, b[0], b[nbssHeader:nbssHeader+size], rec)
		return nbssHeader + size
	}
	if size == 0 {
		return nbssHeader
	}
	if len(b) < nbssHeader+min(size, smb2Header) {
		return 0
	}
	m := b[nbssHeader:]
	whole := smbBulk(m)
	if !whole && len(m) < min(size, smbLargest) {
		return 0
	}
	m = m[:min(size, len(m))]
	if len(m) < smb1Header || string(m[1:4]) != "SMB" {
		return in.smbLost(st, s, len(b), rec)
	}
	switch m[0] {
	case 0xfe:
		for i := 0; i < 8; i++ { // related requests in one message (MS-SMB2, section 3.2.4.1.4)
			next := in.smb2Command(st, m, rec)
			if next < smb2Header || next > len(m)-smb2Header {
				break
			}
			m = m[next:]
		}
	case 0xff:
		in.smb1Command(st, d, m, rec)
	}
	return st.stepOver(d, nbssHeader+size, b)
}

// smbLost waits for the next packet that begins a message.
func (in *Inspector) smbLost(_ *State, s *stream, all int, rec *flow.Record) int {
	in.stats.Malformed++
	in.cutStream(rec)
	s.lost = true
	return all
}

// smbBulk tells of a message whose command can be told from its head, and of
// which nothing more is wanted: data, encrypted or compressed messages.
func smbBulk(m []byte) bool {
	switch {
	case len(m) < smb1Header:
		return false
	case m[0] == 0xfe:
		c, next := binary.LittleEndian.Uint16(m[12:]), binary.LittleEndian.Uint32(m[20:])
		return next == 0 && (c == 8 || c == 9 || c > 14 && c != 17 || c == 11 || c == 14)
	case m[0] == 0xff:
		return m[4] == 0x2e || m[4] == 0x2f // READ_ANDX, WRITE_ANDX
	}
	return true
}

// nbssMessage reads a session request's names: called, then calling.
func (in *Inspector) nbssMessage(st *State, kind byte, b []byte, rec *flow.Record) {
	switch kind {
	case nbssRequest:
		if len(b) >= 68 {
			if rec.AppHost == "" {
				in.netbiosHost(b[35:67], rec)
			}
			in.scratch = appendNetBIOS(append(in.scratch[:0], "SESSION "...), b[1:33])
			in.addRequest(st, in.scratch, rec)
		}
	case 0x83:
		rec.AppErrors++
		in.addResponse(st, append(in.scratch[:0], "SESSION REFUSED"...), rec)
	}
}

// netbiosHost notes the name, encoded in 32 letters, that a client has.
func (in *Inspector) netbiosHost(b []byte, rec *flow.Record) {
	in.scratch = appendNetBIOS(in.scratch[:0], b)
	if i := bytes.LastIndexByte(in.scratch, '<'); i >= 0 {
		in.setOnce(&rec.AppHost, in.scratch[:i], rec)
	}
}

// smbStatus lists the answer to a request that was listed.
func (in *Inspector) smbStatus(st *State, listed bool, status uint32, rec *flow.Record) {
	if status>>30 == 3 && status != 0xc0000016 { // an error, and not "go on" (MS-ERREF, section 2.3)
		rec.AppErrors++
	}
	if !listed || status == 0x103 { // pending: the answer comes later
		return
	}
	if name := ntStatus[status]; name != "" {
		in.addResponse(st, append(in.scratch[:0], name...), rec)
		return
	}
	in.scratch = append(in.scratch[:0], "0x"...)
	for i := 28; i >= 0; i -= 4 {
		in.scratch = append(in.scratch, hexDigits[status>>i&15])
	}
	in.addResponse(st, in.scratch, rec)
}

// ntStatus names the statuses a network sees (MS-ERREF, section 2.3.1).
var ntStatus = map[uint32]string{0: "STATUS_SUCCESS", 0x80000005: "STATUS_BUFFER_OVERFLOW", 0x80000006: "STATUS_NO_MORE_FILES",
	0x8000002d: "STATUS_STOPPED_ON_SYMLINK", 0xc0000002: "STATUS_NOT_IMPLEMENTED", 0xc0000008: "STATUS_INVALID_HANDLE",
	0xc000000d: "STATUS_INVALID_PARAMETER", 0xc000000f: "STATUS_NO_SUCH_FILE", 0xc0000010: "STATUS_INVALID_DEVICE_REQUEST",
	0xc0000011: "STATUS_END_OF_FILE", 0xc0000016: "STATUS_MORE_PROCESSING_REQUIRED", 0xc0000022: "STATUS_ACCESS_DENIED",
	0xc0000023: "STATUS_BUFFER_TOO_SMALL", 0xc0000033: "STATUS_OBJECT_NAME_INVALID", 0xc0000034: "STATUS_OBJECT_NAME_NOT_FOUND",
	0xc0000035: "STATUS_OBJECT_NAME_COLLISION", 0xc000003a: "STATUS_OBJECT_PATH_NOT_FOUND", 0xc0000043: "STATUS_SHARING_VIOLATION",
	0xc0000056: "STATUS_DELETE_PENDING", 0xc000005e: "STATUS_NO_LOGON_SERVERS", 0xc0000064: "STATUS_NO_SUCH_USER",
	0xc000006a: "STATUS_WRONG_PASSWORD", 0xc000006d: "STATUS_LOGON_FAILURE", 0xc000006e: "STATUS_ACCOUNT_RESTRICTION",
	0xc000006f: "STATUS_INVALID_LOGON_HOURS", 0xc0000070: "STATUS_INVALID_WORKSTATION", 0xc0000071: "STATUS_PASSWORD_EXPIRED",
	0xc0000072: "STATUS_ACCOUNT_DISABLED", 0xc000007f: "STATUS_DISK_FULL", 0xc000009a: "STATUS_INSUFFICIENT_RESOURCES",
	0xc00000ac: "STATUS_PIPE_NOT_AVAILABLE", 0xc00000ba: "STATUS_FILE_IS_A_DIRECTORY", 0xc00000bb: "STATUS_NOT_SUPPORTED",
	0xc00000c9: "STATUS_NETWORK_NAME_DELETED", 0xc00000cb: "STATUS_BAD_DEVICE_TYPE", 0xc00000cc: "STATUS_BAD_NETWORK_NAME",
	0xc00000d0: "STATUS_REQUEST_NOT_ACCEPTED", 0xc0000101: "STATUS_DIRECTORY_NOT_EMPTY", 0xc0000103: "STATUS_NOT_A_DIRECTORY",
	0xc0000120: "STATUS_CANCELLED", 0xc0000133: "STATUS_TIME_DIFFERENCE_AT_DC", 0xc000015b: "STATUS_LOGON_TYPE_NOT_GRANTED",
	0xc0000193: "STATUS_ACCOUNT_EXPIRED", 0xc0000203: "STATUS_USER_SESSION_DELETED", 0xc0000205: "STATUS_INSUFF_SERVER_RESOURCES",
	0xc0000224: "STATUS_PASSWORD_MUST_CHANGE", 0xc0000225: "STATUS_NOT_FOUND", 0xc0000234: "STATUS_ACCOUNT_LOCKED_OUT",
	0xc0000257: "STATUS_PATH_NOT_COVERED", 0xc000035c: "STATUS_NETWORK_SESSION_EXPIRED", 0xc0000388: "STATUS_DOWNGRADE_DETECTED"}

// smbBlob returns what an offset from the message's beginning and a length
// point to, nil when it is not there.
func smbBlob(m []byte, off, size int) []byte {
	if size <= 0 || off < smb1Header || off > len(m)-size {
		return nil
	}
	return m[off : off+size]
}

// cstring cuts off text that ends with a NUL.
func cstring(b []byte) (s, rest []byte) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

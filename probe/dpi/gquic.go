package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Google's QUIC before version 50 says its hello in clear text: a message CHLO,
// which is a number of tags, each with the end of its value, and the values
// ("QUIC Crypto", revision 2016-12, handshake message format).
const (
	chloSearch  = 64 // octets of the packet in which it begins
	chloMaxTags = 128
)

// googleHello notes server name and user agent of a packet that holds a CHLO.
func (in *Inspector) googleHello(b []byte, rec *flow.Record) {
	at := bytes.Index(b[:min(len(b), chloSearch)], []byte("CHLO"))
	if at < 0 || len(b) < at+8 {
		return
	}
	b = b[at+4:]
	n := int(binary.LittleEndian.Uint16(b))
	if n > chloMaxTags || len(b) < 4+8*n {
		return
	}
	tags, values := b[4:4+8*n], b[4+8*n:]
	from := uint32(0)
	for ; len(tags) > 0; tags = tags[8:] {
		to := binary.LittleEndian.Uint32(tags[4:])
		if to < from || to > uint32(len(values)) {
			return
		}
		value := values[from:to]
		switch string(tags[:4]) {
		case "SNI\x00":
			rec.TLSSNI = in.printable(value, rec)
			in.named(rec.TLSSNI, rec)
		case "UAID":
			rec.ClientSoftware = in.printable(value, rec)
		}
		from = to
	}
}

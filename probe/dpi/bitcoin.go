package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Bitcoin's network protocol, and those of its relatives with the same header.
func bitcoinProtocol() protocol {
	return protocol{app: "bitcoin", tcp: []uint16{8333, 18333, 18444}, stream: func(b []byte, _ *hint) verdict { return looksBitcoin(b) }, parse: (*Inspector).bitcoinStream,
		resume: looksBitcoin}
}

const bitcoinHeader = 24

// bitcoinNetworks are the magic values: main, test, test 3, regression, signet.
var bitcoinNetworks = [...]string{"\xf9\xbe\xb4\xd9", "\xfa\xbf\xb5\xda", "\x0b\x11\x09\x07", "\x0a\x03\xcf\x40", "\x1c\x16\x3f\x28"}

func looksBitcoin(b []byte) verdict {
	best := no
	for _, magic := range bitcoinNetworks {
		best = max(best, prefixOf(b, magic))
	}
	if best == yes && len(b) < 16 {
		return undecided
	}
	return best
}

func (in *Inspector) bitcoinStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < bitcoinHeader {
		return 0
	}
	size := bitcoinHeader + uint64(binary.LittleEndian.Uint32(b[16:]))
	if looksBitcoin(b) != yes || size > 1<<26 {
		return in.astray(st, d, b, rec)
	}
	command := bytes.TrimRight(b[4:16], "\x00")
	whole := int(min(size, 512))
	if string(command) == "version" && len(b) < whole {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	if string(command) == "version" { // services, time, two addresses, nonce, then the user agent
		r := reader{b: b[bitcoinHeader:whole]}
		r.take(4 + 8 + 8 + 26 + 26 + 8)
		in.software(d, r.take(r.u8()), rec)
	}
	if st.count[d]++; st.count[d] <= 16 {
		if d == sideSrc {
			in.addRequest(st, in.verb(string(command), nil), rec)
		} else {
			in.addResponse(st, in.verb(string(command), nil), rec)
		}
	}
	st.half[d].skip = size
	return skipped(&st.half[d], len(b))
}

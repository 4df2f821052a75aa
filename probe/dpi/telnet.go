package dpi

import "github.com/tapwatch/tapwatch/proto/flow"

// Telnet (RFC 854): recognised by the negotiation of options at its beginning.
// What is typed is not read.
func telnetProtocol() protocol {
	return protocol{app: "telnet", tcp: []uint16{23}, risks: flow.RiskUnsafeProtocol, stream: looksTelnet}
}

const (
	telnetIAC = 255
	telnetSB  = 250 // WILL, WON'T, DO, DON'T follow
)

// looksTelnet wants two commands, one on the port; options above 49 are rare
// (IANA Telnet options), the last is 255.
func looksTelnet(b []byte, h *hint) verdict {
	n := 0
	for i := 0; i < len(b); n++ {
		if b[i] != telnetIAC {
			break
		}
		if n >= 2 || n >= 1 && h.onPort {
			return yes
		}
		if i+2 >= len(b) {
			return undecided
		}
		option := b[i+2]
		if b[i+1] < telnetSB || b[i+1] == telnetIAC || option > 49 && option != 255 && (option < 138 || option > 140) {
			return no
		}
		i += 3
	}
	if n >= 2 || n >= 1 && h.onPort {
		return yes
	}
	if n == 1 {
		return undecided
	}
	return no
}

package decode

import "github.com/tapwatch/tapwatch/probe/capture"

// Simple fills p and returns true where f needs nothing that a Decoder
// remembers: what nearly every frame is, Ethernet with a whole TCP or UDP packet
// that is neither fragment nor tunnel. Decode gives the same then. With false, p
// is in any state.
func Simple(f *capture.Frame, p *Packet) bool {
	return f.LinkType == capture.LinkEthernet && fast(f, p)
}

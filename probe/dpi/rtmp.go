package dpi

// RTMP (Adobe, 1.0): the handshake, C0 and C1 or S0 and S1, of 1537 octets.
func rtmpProtocol() protocol {
	return protocol{app: "rtmp", tcp: []uint16{1935}, stream: looksRTMP}
}

const rtmpHandshake = 1537 // octets of C0 and C1

// looksRTMP wants version 3 and, on its port, the length; elsewhere also C1's
// four octets of zero, and that what is random there looks so.
func looksRTMP(b []byte, h *hint) verdict {
	switch {
	case len(b) == 0:
		return undecided
	case b[0] != 3, len(b) > rtmpHandshake && !h.onPort, len(b) >= 9 && !h.onPort && b[5]|b[6]|b[7]|b[8] != 0:
		return no
	case len(b) < rtmpHandshake:
		return undecided
	case h.onPort || rtmpRandom(b[9:rtmpHandshake]):
		return yes
	}
	return no
}

// rtmpRandom tells octets that repeat no more than random ones.
func rtmpRandom(b []byte) bool {
	var seen [256]bool
	n := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n > 128
}

package dpi

// RTMP (Adobe, 1.0): the handshake, C0 and C1 or S0 and S1, of 1537 octets.
func rtmpProtocol() protocol {
	return protocol{app: "rtmp", tcp: []uint16{1935}, stream: looksRTMP}
}

// looksRTMP wants version 3 and, in C1, a version of four octets that is zero
// or a player's; on its port the first octet and the length will do.
func looksRTMP(b []byte, h *hint) verdict {
	switch {
	case len(b) == 0:
		return undecided
	case b[0] != 3 || len(b) > 1537 && !h.onPort:
		return no
	case len(b) >= 4 && b[1] == 0 && b[2] == 0 && b[3] < 0x20 && !h.onPort: // a TPKT, or a number
		return no
	case len(b) < 1537 && (h.onPort || len(b) < 9):
		return undecided
	case len(b) < 9:
		return undecided
	}
	zero := b[5]|b[6]|b[7]|b[8] == 0
	switch {
	case len(b) < 1537 && zero:
		return undecided
	case len(b) < 1537:
		return no
	case h.onPort || zero:
		return yes
	}
	return no
}

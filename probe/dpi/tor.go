package dpi

import (
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// torProtocol is TLS whose client shows itself as Tor's; it has no beginning of
// its own. Relays that look like a browser's connection are not told.
func torProtocol() protocol { return protocol{app: "tor", tcp: []uint16{9001, 9030}} }

// torHello tells a hello of Tor: no ALPN, and a name drawn by lot, "www." and 8
// to 25 characters of base 32 and ".com" or ".net" (Tor specification, "In-protocol
// handshake"; crypto_random_hostname). Elsewhere than on its ports the name has
// to look so, too.
func torHello(h *hello, rec *flow.Record) bool {
	if len(h.alpn) > 0 || len(h.sni) < len("www.12345678.com") {
		return false
	}
	name := string(h.sni)
	label, ok := strings.CutPrefix(name, "www.")
	if !ok || !strings.HasSuffix(label, ".com") && !strings.HasSuffix(label, ".net") {
		return false
	}
	label = label[:len(label)-len(".com")]
	if len(label) < 8 || len(label) > 25 {
		return false
	}
	for _, c := range []byte(label) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	on := hint{ports: [2]uint16{rec.DstPort, rec.SrcPort}}
	return on.on([]uint16{9001, 9030}) || generated(name)
}

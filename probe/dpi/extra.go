package dpi

import "github.com/tapwatch/tapwatch/probe/plugin"

// extra makes protocols of a user's recognisers. They are asked last, and only name the flow.
func extra(list []plugin.Recogniser) (all []protocol) {
	for i := range list {
		r := &list[i]
		p := protocol{app: r.App}
		if r.Stream != nil {
			p.anyOctet, p.stream = true, func(b []byte, h *hint) verdict {
				f := h.flow(protoTCP)
				if !r.Asks(f) {
					return no
				}
				switch r.Stream(b, f) {
				case plugin.Yes:
					return yes
				case plugin.Maybe:
					return undecided
				}
				return no
			}
		}
		if r.Datagram != nil {
			p.datagram = func(b []byte, h *hint) bool {
				f := h.flow(protoUDP)
				return r.Asks(f) && r.Datagram(b, f) == plugin.Yes
			}
		}
		all = append(all, p)
	}
	return all
}

// flow is what a recogniser of a user may know.
func (h *hint) flow(protocol uint8) plugin.Flow {
	return plugin.Flow{Protocol: protocol, SrcPort: h.ports[1], DstPort: h.ports[0], FromSrc: h.d == sideSrc}
}

package dpi

import (
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// datagram takes one UDP payload.
func (in *Inspector) datagram(st *State, d side, p *decode.Packet, rec *flow.Record) {
	b := p.Payload
	mode := byPort
	if p.Fragment {
		mode = fragment // which piece is not known: only the first begins a message
	}
	if st.kind == kindNone && !in.recogniseDatagram(st, b, mode, rec) {
		return
	}
	switch st.kind {
	case kindDNS:
		if mode == fragment && !looksDNS(b, fragment) {
			return
		}
		if !in.dnsMessage(st, b, rec, p.Time) && mode == byPort {
			in.stats.Malformed++
		}
	case kindQUIC:
		if !p.Fragment {
			in.quicDatagram(st, d, b, rec)
		}
	}
}

// recogniseDatagram looks for the protocol of a UDP flow, one line per
// protocol. The ports of the DNS family decide which of its members it is;
// elsewhere DNS must be unmistakable.
func (in *Inspector) recogniseDatagram(st *State, b []byte, mode strictness, rec *flow.Record) bool {
	if app := dnsFamily(rec); app != "" && looksDNS(b, mode) {
		in.recognised(st, kindDNS, rec, app, flow.AppDPI)
		return true
	}
	switch {
	case mode == fragment:
	case looksQUIC(b):
		in.recognised(st, kindQUIC, rec, "quic", flow.AppDPI)
		return true
	case looksDNS(b, anywhere):
		in.recognised(st, kindDNS, rec, "dns", flow.AppDPI)
		return true
	}
	return false
}

// dnsFamily names the protocol of the DNS family that a port stands for.
func dnsFamily(rec *flow.Record) string {
	for _, port := range [2]uint16{rec.DstPort, rec.SrcPort} {
		switch port {
		case 53:
			return "dns"
		case 137:
			return "nbns"
		case 5353:
			return "mdns"
		case 5355:
			return "llmnr"
		}
	}
	return ""
}

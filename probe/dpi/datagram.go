package dpi

import (
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// datagram takes one UDP payload.
func (in *Inspector) datagram(st *State, d side, p *decode.Packet, rec *flow.Record) {
	b := p.Payload
	if st.kind == kindNone && !in.recogniseDatagram(st, b, rec) {
		return
	}
	switch st.kind {
	case kindDNS:
		// The first piece of a fragmented message breaks off; that is not its fault.
		if !in.dnsMessage(st, b, rec, p.Time) && !p.Fragment {
			in.stats.Malformed++
		}
	case kindQUIC:
		in.quicDatagram(st, d, b, rec)
	}
}

// recogniseDatagram looks for the protocol of a UDP flow, one line per
// protocol. The ports of the DNS family decide which of its members it is;
// elsewhere DNS must be unmistakable.
func (in *Inspector) recogniseDatagram(st *State, b []byte, rec *flow.Record) bool {
	if app := dnsFamily(rec); app != "" && looksDNS(b, false) {
		in.recognised(st, kindDNS, rec, app, flow.AppDPI)
		return true
	}
	switch {
	case looksQUIC(b):
		in.recognised(st, kindQUIC, rec, "quic", flow.AppDPI)
		return true
	case looksDNS(b, true):
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

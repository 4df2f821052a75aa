package nfcapd

import (
	"fmt"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// versionFrame are bits of the export protocol, as nfdump numbers them: of nfpcapd and sfcapd, which saw the frames themselves.
const versionFrame = 0xc0

// flowRecord is a flow of either layout before what the file says elsewhere is added.
type flowRecord struct {
	biflow.Half
	exporter  uint16 // its number in the file, 0 none
	version   uint8  // export protocol; 0 not told, as by the first releases
	sampled   bool   // counters are multiplied
	samplerID int64
	event     bool   // of a firewall: counters of both directions, seen from who began
	happened  uint64 // the event, ms since the epoch
	first     uint64 // ms since the epoch
	last      uint64
	addressed bool
	input     uint32 // SNMP index of the interface
	router    flow.Addr
	srcMAC    uint64 // IE 56
	dstMAC    uint64 // IE 80
	outMAC    uint64 // IE 57: of the next hop; of nfpcapd and sfcapd, that of the frame
}

// direction takes IE 61. Where the exporter does not tell, nfcapd writes ingress; package biflow looks at it only if there is an egress too.
func (f *flowRecord) direction(told uint8) {
	f.Direction = biflow.Ingress
	if told == 1 {
		f.Direction = biflow.Egress
	}
}

// end takes who began (IE 239) and why the flow ended (IE 136).
func (f *flowRecord) end(began, reason uint8) {
	f.BeginKnown, f.Reversed = began == 1 || began == 2, began == 2
	if reason <= 5 {
		f.EndReason = flow.EndReason(reason)
	}
}

// vlan takes IE 58 and 59; nfpcapd of 1.7.1 writes the frame's into the second.
func (f *flowRecord) vlan(in, out uint32) {
	if in == 0 && f.version&versionFrame != 0 {
		in = out
	}
	if in != 0 {
		f.VLAN = uint16(in) & 0xfff
	}
}

// half completes the half of a record.
func (d *Decoder) half(f *flowRecord) biflow.Half {
	h := f.Half
	e, known := d.exporters[f.exporter]
	if !known {
		e.addr = f.router
	}
	h.Origin, h.Exporter, h.Domain, h.Interface = Origin, e.addr, e.domain, interfaceName(e.addr, f.input)
	if f.first == 0 {
		f.first = f.happened
	}
	if f.last == 0 {
		f.last = f.first
	}
	h.Start, h.End = nanoseconds(f.first), nanoseconds(f.last)
	if h.Protocol == 1 || h.Protocol == 58 {
		h.ICMPType, h.ICMPCode = uint8(h.DstPort>>8), uint8(h.DstPort)
		h.SrcPort, h.DstPort = 0, 0
	}
	h.BeginKnown = h.BeginKnown || f.event
	if h.Reversed && h.RevPackets|h.RevBytes == 0 { // one direction alone cannot be turned
		h.BeginKnown, h.Reversed = false, false
	}
	if f.dstMAC == 0 && f.version&versionFrame != 0 {
		f.dstMAC = f.outMAC
	}
	const mac = 1<<48 - 1
	h.SrcMAC, h.DstMAC = flow.MAC(f.srcMAC&mac), flow.MAC(f.dstMAC&mac)
	if f.sampled {
		h.Sampling = d.rate(sampler{f.exporter, f.samplerID})
	}
	return h
}

// rate is that of a sampler, or of the exporter where the sampler is not known; 0 unknown.
func (d *Decoder) rate(s sampler) uint32 {
	if rate := d.samplers[s]; rate != 0 {
		return rate
	}
	return d.samplers[sampler{s.exporter, anySampler}]
}

// interfaceName is the interface of an exporter, as the record has it; empty if neither is known.
func interfaceName(from flow.Addr, input uint32) string {
	if from != (flow.Addr{}) {
		return fmt.Sprintf("%s/%d", from, input)
	}
	if input != 0 {
		return fmt.Sprintf("if%d", input)
	}
	return ""
}

// nanoseconds is a time in ms as ns, both since the epoch; beyond what can be stored it stays so.
func nanoseconds(ms uint64) int64 { return int64(min(ms, 1<<42)) * 1e6 }

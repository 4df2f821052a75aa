package nfcapd

import (
	"encoding/binary"
	"fmt"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// maxSamplers bounds the samplers of a file; exporters are at most 65536, by their number.
const maxSamplers = 65_536

// exporter is who sent flows to the collector.
type exporter struct {
	addr   flow.Addr
	domain uint32 // source ID (NetFlow v9), observation domain (IPFIX), engine (v5)
}

// sampler is a sampler of an exporter. Its id is that of the exporter, negative
// for one that the collector was told of; anySampler stands for the last.
type sampler struct {
	exporter uint16
	id       int64
}

// anySampler is no id that nfcapd gives.
const anySampler = -1 << 63

// learn reads a record that tells of an exporter or of its sampling (exporter.h).
func (d *Decoder) learn(kind uint16, b []byte) error {
	need := map[uint16]int{recordExporter: 32, recordSampler0: 16, recordSampler: 24}[kind]
	if len(b) < need {
		return fmt.Errorf("record of type %d: %d octets, less than %d", kind, len(b), need)
	}
	order := binary.LittleEndian
	switch kind {
	case recordExporter:
		d.exporters[order.Uint16(b[26:])] = exporter{addr: exporterAddr(b[8:24], order.Uint16(b[24:])), domain: order.Uint32(b[28:])}
	case recordSampler0:
		d.sampled(sampler{order.Uint16(b[14:]), int64(int32(order.Uint32(b[4:])))}, uint64(order.Uint32(b[8:])))
	case recordSampler:
		// So many packets are taken, and so many passed over (IPFIX 305 and 306).
		if taken, passed := uint64(order.Uint32(b[16:])), uint64(order.Uint32(b[20:])); taken > 0 {
			d.sampled(sampler{order.Uint16(b[4:]), int64(order.Uint64(b[8:]))}, (taken+passed)/taken)
		}
	}
	return nil
}

// sampled keeps a rate, if it is one.
func (d *Decoder) sampled(s sampler, rate uint64) {
	if rate > 1 && rate <= 1<<24 && len(d.samplers) < maxSamplers {
		d.samplers[s] = uint32(rate)
		d.samplers[sampler{s.exporter, anySampler}] = uint32(rate)
	}
}

// exporterAddr is an address as up to 1.7.7 has it, in the order of the host
// with its family (an IPv4 address in the second half), or, without a family, as since
// 1.7.8, in that of the network.
func exporterAddr(b []byte, family uint16) flow.Addr {
	const inet = 2 // AF_INET, everywhere; AF_INET6 differs
	switch family {
	case 0:
		return flow.Addr(b)
	case inet:
		return v4(b[8:])
	}
	return v6(b)
}

// v4 is an IPv4 address in the order of the host.
func v4(b []byte) flow.Addr {
	return flow.Addr{10: 0xff, 11: 0xff, 12: b[3], 13: b[2], 14: b[1], 15: b[0]}
}

// v6 is an IPv6 address as two numbers of 64 bits in the order of the host, the higher first.
func v6(b []byte) (a flow.Addr) {
	binary.BigEndian.PutUint64(a[:], binary.LittleEndian.Uint64(b))
	binary.BigEndian.PutUint64(a[8:], binary.LittleEndian.Uint64(b[8:]))
	return a
}

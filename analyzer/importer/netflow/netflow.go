// Package netflow reads export datagrams of NetFlow v5, NetFlow v9 and IPFIX.
// In come datagrams with the exporter's address, out go halves of flows for
// package biflow, counters scaled by the sampling that the exporter declares.
// The decoding is goflow2's, behind bounds of our own: a template of no
// length would make it read without end. A Decoder belongs to one goroutine.
package netflow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	decoder "github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Origins of records.
const (
	Origin5 = "netflow5"
	Origin9 = "netflow9"
	OriginX = "ipfix"
)

// Bounds of what exporters may make us remember.
const (
	MaxExporters = 4096
	MaxTemplates = 1024 // of one exporter
	maxFields    = 512  // of one template
)

// Decoder knows the templates and the sampling of every exporter.
type Decoder struct {
	// Skip is told of what is left out: how much, when (0 unknown), and why.
	Skip      func(reason string, n uint64, at int64, cause error)
	exporters map[flow.Addr]*exporter
}

type exporter struct {
	templates templates
	sampling  map[uint64]uint32 // by domain, and by sampler within it
	boot      map[uint32]int64  // by domain: when the exporter began, ns; where its options say so
}

// New returns a Decoder without templates.
func New() *Decoder {
	return &Decoder{Skip: func(string, uint64, int64, error) {}, exporters: make(map[flow.Addr]*exporter)}
}

func (d *Decoder) exporter(from flow.Addr) *exporter {
	e := d.exporters[from]
	if e == nil {
		if len(d.exporters) >= MaxExporters {
			return nil
		}
		e = &exporter{templates: make(templates), sampling: make(map[uint64]uint32), boot: make(map[uint32]int64)}
		d.exporters[from] = e
	}
	return e
}

// Emit takes a half; its error ends the reading.
type Emit func(biflow.Half) error

// Datagram reads one datagram, received at a time that need not be known (0).
// It never fails on what it holds: that is told to Skip. The error is emit's.
// With a nil emit it learns templates and sampling only.
func (d *Decoder) Datagram(from flow.Addr, received int64, b []byte, emit Emit) (err error) {
	learn := emit == nil
	skip := d.Skip
	if learn {
		skip = func(string, uint64, int64, error) {}
	}
	defer func() { // a decoder that is not ours reads what anyone can send
		if p := recover(); p != nil {
			skip(source.SkipMalformed, 1, received, fmt.Errorf("decoder: %v", p))
		}
	}()
	if len(b) < 2 {
		skip(source.SkipMalformed, 1, received, errors.New("datagram of less than 2 octets"))
		return nil
	}
	e := d.exporter(from)
	if e == nil {
		skip(source.SkipJoinFull, 1, received, fmt.Errorf("exporter %s: more than %d exporters", from, MaxExporters))
		return nil
	}
	switch version := binary.BigEndian.Uint16(b); version {
	case 5:
		if learn {
			return nil
		}
		return version5(from, b, skip, emit)
	case 9:
		var p decoder.NFv9Packet
		if len(b) < 20 {
			skip(source.SkipMalformed, 1, received, fmt.Errorf("netflow v9 datagram of %d octets", len(b)))
			return nil
		}
		// The decoder stops after so many sets as the header counts records, and
		// exporters are known to count otherwise: the datagram's end is what ends it.
		b = bytes.Clone(b)
		b[2], b[3] = 0xff, 0xff
		err := decoder.DecodeMessageVersion(bytes.NewBuffer(b), e.templates, &p, nil)
		m := message{origin: Origin9, from: from, domain: p.SourceId, exported: int64(p.UnixSeconds) * 1e9}
		m.boot = m.exported - int64(p.SystemUptime)*1e6
		e.complain(err, p.FlowSets, m.exported, skip)
		return e.sets(&m, p.FlowSets, skip, emit)
	case 10:
		if len(b) < 16 || int(binary.BigEndian.Uint16(b[2:])) > len(b) || binary.BigEndian.Uint16(b[2:]) < 16 {
			skip(source.SkipMalformed, 1, received, fmt.Errorf("ipfix message of %d octets", len(b)))
			return nil
		}
		var p decoder.IPFIXPacket
		err := decoder.DecodeMessageVersion(bytes.NewBuffer(b[:binary.BigEndian.Uint16(b[2:])]), e.templates, nil, &p)
		m := message{origin: OriginX, from: from, domain: p.ObservationDomainId, exported: int64(p.ExportTime) * 1e9}
		e.complain(err, p.FlowSets, m.exported, skip)
		return e.sets(&m, p.FlowSets, skip, emit)
	default:
		skip(source.SkipUnknown, 1, received, fmt.Errorf("netflow version %d", version))
	}
	return nil
}

// complain counts what could not be decoded: sets without a template each, or the rest of the message.
func (e *exporter) complain(err error, sets []any, at int64, skip func(string, uint64, int64, error)) {
	if err == nil {
		return
	}
	if !errors.Is(err, decoder.ErrorTemplateNotFound) {
		skip(source.SkipMalformed, 1, at, err)
		return
	}
	n := uint64(0)
	for _, s := range sets {
		if _, raw := s.(decoder.RawFlowSet); raw {
			n++
		}
	}
	skip(source.SkipTemplate, max(n, 1), at, err)
}

// templates implements the decoder's store, for one exporter.
type templates map[[2]uint64]any

func templateKey(version uint16, domain uint32, id uint16) [2]uint64 {
	return [2]uint64{uint64(version)<<32 | uint64(domain), uint64(id)}
}

var errTemplate = errors.New("template without fields, or with too many")

// AddTemplate refuses templates whose records have no length.
func (t templates) AddTemplate(version uint16, domain uint32, id uint16, template any) error {
	key := templateKey(version, domain, id)
	var fields [][]decoder.Field
	switch x := template.(type) {
	case decoder.TemplateRecord:
		if len(x.Fields) == 0 { // withdrawn (RFC 7011, section 8.1)
			delete(t, key)
			return nil
		}
		fields = [][]decoder.Field{x.Fields}
	case decoder.NFv9OptionsTemplateRecord:
		fields = [][]decoder.Field{x.Scopes, x.Options}
	case decoder.IPFIXOptionsTemplateRecord:
		fields = [][]decoder.Field{x.Scopes, x.Options}
	}
	size, n := 0, 0
	for _, list := range fields {
		n += len(list)
		for _, f := range list {
			if f.Length == 0xffff {
				size++
			} else {
				size += int(f.Length)
			}
		}
	}
	if _, known := t[key]; size == 0 || n > maxFields || !known && len(t) >= MaxTemplates {
		return errTemplate
	}
	t[key] = template
	return nil
}

// GetTemplate is the decoder's question.
func (t templates) GetTemplate(version uint16, domain uint32, id uint16) (any, error) {
	if x, ok := t[templateKey(version, domain, id)]; ok {
		return x, nil
	}
	return nil, decoder.ErrorTemplateNotFound
}

// RemoveTemplate forgets one.
func (t templates) RemoveTemplate(version uint16, domain uint32, id uint16) (any, error) {
	x, err := t.GetTemplate(version, domain, id)
	delete(t, templateKey(version, domain, id))
	return x, err
}

// GetTemplates is part of the interface; nobody asks.
func (t templates) GetTemplates() decoder.FlowBaseTemplateSet { return nil }

// version5 reads a NetFlow v5 datagram: 24 octets of header, 48 of each record.
func version5(from flow.Addr, b []byte, skip func(string, uint64, int64, error), emit Emit) error {
	var p netflowlegacy.PacketNetFlowV5
	count := 0
	if len(b) >= 4 {
		count = int(binary.BigEndian.Uint16(b[2:]))
	}
	if len(b) < 24+48*count { // the decoder would invent the rest
		skip(source.SkipMalformed, uint64(max(count, 1)), 0, fmt.Errorf("netflow v5: %d octets for %d records", len(b), count))
		return nil
	}
	if err := netflowlegacy.DecodeMessageVersion(bytes.NewBuffer(b), &p); err != nil {
		skip(source.SkipMalformed, 1, 0, err)
		return nil
	}
	exported := int64(p.UnixSecs)*1e9 + int64(p.UnixNSecs)
	boot := exported - int64(p.SysUptime)*1e6
	rate := uint64(max(p.SamplingInterval&0x3fff, 1))
	for i := range p.Records {
		r := &p.Records[i]
		h := biflow.Half{Interface: name(from, uint32(r.Input)), Flags: r.TCPFlags, DSCP: r.Tos >> 2,
			Packets: uint64(r.DPkts) * rate, Bytes: uint64(r.DOctets) * rate, Sampling: uint32(rate)}
		h.Origin, h.Exporter, h.Domain = Origin5, from, uint32(p.EngineType)<<8|uint32(p.EngineId)
		h.Src, h.Dst, h.SrcPort, h.DstPort, h.Protocol = v4(uint32(r.SrcAddr)), v4(uint32(r.DstAddr)), r.SrcPort, r.DstPort, r.Proto
		icmp(&h, r.DstPort)
		h.Start, h.End = boot+uptime(r.First, p.SysUptime), boot+uptime(r.Last, p.SysUptime)
		if err := hand(&h, skip, emit); err != nil {
			return err
		}
	}
	return nil
}

// uptime is a time in ms since boot as ns; the counter wraps after 49.7 days, and what seems to be after the export was before.
func uptime(at, now uint32) int64 {
	if at > now && at-now > 1<<31 {
		return int64(at)*1e6 - (1<<32)*1e6
	}
	return int64(at) * 1e6
}

// icmp takes type and code from where exporters put them, the destination port.
func icmp(h *biflow.Half, typeCode uint16) {
	if h.Protocol == 1 || h.Protocol == 58 {
		h.ICMPType, h.ICMPCode = uint8(typeCode>>8), uint8(typeCode)
		h.SrcPort, h.DstPort = 0, 0
	}
}

// hand checks a half, and hands it on.
func hand(h *biflow.Half, skip func(string, uint64, int64, error), emit Emit) error {
	if !source.Storable(h.Start, h.End) {
		if h.End < h.Start && h.Start > 0 && h.Start-h.End < 1e9 { // rounded differently
			h.End = h.Start
		} else {
			skip(source.SkipTime, 1, 0, fmt.Errorf("flow from %d to %d ns", h.Start, h.End))
			return nil
		}
	}
	if h.Src == (flow.Addr{}) && h.Dst == (flow.Addr{}) {
		skip(source.SkipAddress, 1, h.Start, errors.New("no addresses: a record of layer 2, or of another kind"))
		return nil
	}
	return emit(*h)
}

func v4(n uint32) flow.Addr {
	return flow.Addr{10: 0xff, 11: 0xff, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

// name is the interface of an exporter, as the record has it.
func name(from flow.Addr, input uint32) string {
	if from == (flow.Addr{}) {
		return fmt.Sprintf("if%d", input)
	}
	return fmt.Sprintf("%s/%d", from, input)
}

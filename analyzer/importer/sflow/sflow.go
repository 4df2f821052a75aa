// Package sflow reads sFlow version 5 datagrams. In come datagrams, out go
// halves of flows for package biflow: the sampled packets of a minute with the
// same key, each standing for as many packets as the sampling rate says. The
// decoding is goflow2's, behind a check of our own: a count in the datagram would
// make it allocate gigabytes. A Decoder belongs to one goroutine.
package sflow

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	decoder "github.com/netsampler/goflow2/v2/decoders/sflow"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Origin marks the records of this package.
const Origin = "sflow"

// Bounds of the samples that are added up.
const (
	active   = time.Minute
	maxFlows = 262_144
)

// Emit takes a half; its error ends the reading.
type Emit func(biflow.Half) error

// Decoder adds samples up.
type Decoder struct {
	// Skip is told of what is left out: how much, when (0 unknown), and why.
	Skip func(reason string, n uint64, at int64, cause error)
	// Joined is told of a sample that was added to another; may be nil.
	Joined func()
	flows  map[biflow.Key]*list.Element
	order  *list.List // of *biflow.Half, by start
}

// New returns an empty Decoder.
func New() *Decoder {
	return &Decoder{Skip: func(string, uint64, int64, error) {}, flows: make(map[biflow.Key]*list.Element), order: list.New()}
}

// Datagram reads one datagram. sFlow tells no time: that of its arrival counts,
// ns since the epoch. What it holds never fails; the error is emit's.
func (d *Decoder) Datagram(from flow.Addr, received int64, b []byte, emit Emit) (err error) {
	if err := d.Expire(received-int64(active), emit); err != nil {
		return err
	}
	samples, agent, err := decode(b)
	if err != nil {
		d.Skip(source.SkipMalformed, 1, received, err)
		return nil
	}
	if agent != (flow.Addr{}) {
		from = agent
	}
	for _, s := range samples {
		h, ok := half(s)
		if !ok {
			switch s.(type) {
			case decoder.CounterSample:
				d.Skip(source.SkipOptions, 1, received, nil)
			default:
				d.Skip(source.SkipUnknown, 1, received, errors.New("a sample without an IP packet"))
			}
			continue
		}
		h.Exporter, h.Start, h.End = from, received, received
		h.Interface = fmt.Sprintf("%s/%s", from, h.Interface)
		if err := d.add(h, emit); err != nil {
			return err
		}
	}
	return nil
}

// decode is the library's, after a look at what it would trust.
func decode(b []byte) (samples []any, agent flow.Addr, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoder: %v", p)
		}
	}()
	if err := plausible(b); err != nil {
		return nil, agent, err
	}
	var p decoder.Packet
	if err := decoder.DecodeMessageVersion(bytes.NewBuffer(b), &p); err != nil {
		return nil, agent, err
	}
	return p.Samples, address(p.AgentIP), nil
}

// plausible refuses expanded samples with more records than octets for them.
func plausible(b []byte) error {
	at := 24
	if len(b) < 28 || binary.BigEndian.Uint32(b) != 5 {
		return fmt.Errorf("sflow: no version 5 datagram, %d octets", len(b))
	}
	if binary.BigEndian.Uint32(b[4:]) == 2 {
		at += 12
	}
	for at += 4; at+8 <= len(b); {
		format, n := binary.BigEndian.Uint32(b[at:]), int(binary.BigEndian.Uint32(b[at+4:]))
		at += 8
		if n > len(b)-at {
			return errors.New("sflow: a sample is longer than the datagram")
		}
		if format == 3 && n >= 44 && int(binary.BigEndian.Uint32(b[at+40:])) > n/8 {
			return errors.New("sflow: more flow records than the sample has room for")
		}
		at += n
	}
	return nil
}

// half makes a half of one sample: the packet it holds.
func half(sample any) (h biflow.Half, ok bool) {
	var records []decoder.FlowRecord
	var rate uint32
	switch s := sample.(type) {
	case decoder.FlowSample:
		records, rate, h.Interface = s.Records, s.SamplingRate, fmt.Sprint(s.Input)
	case decoder.ExpandedFlowSample:
		records, rate, h.Interface = s.Records, s.SamplingRate, fmt.Sprint(s.InputIfValue)
	default:
		return h, false
	}
	h.Origin, h.Sampling, h.Packets = Origin, min(max(rate, 1), 1<<24), uint64(min(max(rate, 1), 1<<24))
	for _, r := range records {
		switch x := r.Data.(type) {
		case decoder.SampledHeader:
			h.FrameBytes = uint64(min(x.FrameLength, 1<<16)) * h.Packets
			ok = header(x.Protocol, x.HeaderData, &h) || ok
		case decoder.SampledIPv4:
			ok = sampled(&h, &x.SampledIPBase) || ok
			h.DSCP = uint8(x.Tos) >> 2
		case decoder.SampledIPv6:
			ok = sampled(&h, &x.SampledIPBase) || ok
		case decoder.ExtendedSwitch:
			h.VLAN = uint16(x.SrcVlan) & 0xfff
		}
	}
	return h, ok
}

func sampled(h *biflow.Half, x *decoder.SampledIPBase) bool {
	h.Src, h.Dst = address(x.SrcIP), address(x.DstIP)
	h.SrcPort, h.DstPort, h.Protocol, h.Flags = uint16(x.SrcPort), uint16(x.DstPort), uint8(x.Protocol), uint8(x.TcpFlags)
	h.Bytes = uint64(min(x.Length, 1<<16)) * h.Packets
	if h.Protocol == 1 || h.Protocol == 58 {
		h.ICMPType, h.ICMPCode, h.SrcPort, h.DstPort = uint8(x.SrcPort), uint8(x.DstPort), 0, 0
	}
	return h.Src != flow.Addr{} || h.Dst != flow.Addr{}
}

func address(b []byte) (a flow.Addr) {
	switch len(b) {
	case 4:
		copy(a[10:], []byte{0xff, 0xff, b[0], b[1], b[2], b[3]})
	case 16:
		copy(a[:], b)
	}
	return a
}

// add adds a sample to those of its key.
func (d *Decoder) add(h biflow.Half, emit Emit) error {
	if e := d.flows[h.Key]; e != nil {
		o := e.Value.(*biflow.Half)
		o.End = max(o.End, h.End)
		o.Packets, o.Bytes, o.FrameBytes = o.Packets+h.Packets, o.Bytes+h.Bytes, o.FrameBytes+h.FrameBytes
		o.Flags |= h.Flags
		o.Sampling = max(o.Sampling, h.Sampling)
		if d.Joined != nil {
			d.Joined()
		}
		return nil
	}
	if d.order.Len() >= maxFlows {
		if err := d.out(emit); err != nil {
			return err
		}
	}
	d.flows[h.Key] = d.order.PushBack(&h)
	return nil
}

// Expire hands out the flows that began before a time, ns.
func (d *Decoder) Expire(before int64, emit Emit) error {
	for e := d.order.Front(); e != nil && e.Value.(*biflow.Half).Start <= before; e = d.order.Front() {
		if err := d.out(emit); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) out(emit Emit) error {
	e := d.order.Front()
	h := e.Value.(*biflow.Half)
	d.order.Remove(e)
	delete(d.flows, h.Key)
	return emit(*h)
}

// Flush hands out all, at the end of a file.
func (d *Decoder) Flush(emit Emit) error { return d.Expire(1<<63-1, emit) }

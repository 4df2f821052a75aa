// Package mirror tells from the traffic what is wrong with the mirror port (SPAN), the TAP or the capture that delivers it:
// one-way mirrors, doubled frames, cut frames, offload artefacts, missing VLANs, clocks that are wrong, loss before the probe.
//
// In come the frames and packets of one worker, and its flow records; nothing of them is kept. Out go Shares, a figure for each
// state of each interface (for metrics), and Findings: those that are beyond doubt, with a hint what to change. An Observer belongs to
// the worker's goroutine, allocates nothing per packet, and is bounded: two tables of fixed size.
//
// Every packet costs a few comparisons. What costs more is done for a sample: all of the first packets, up to fullSample, so that short captures
// are judged as well, then 1 of sampleOf. The sample is chosen by content, so that both copies of a doubled frame, and both directions of a
// connection, are in it or not.
package mirror

import (
	"math"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Config says from when on a state is a finding. The zero value of a field means its default.
type Config struct {
	VLANs     []uint16 `conf:"vlans" help:"VLANs that the mirror is expected to carry; a missing one is reported"`
	MinFlows  int      `conf:"min_flows" help:"connections that must have been seen before their kind is judged; 0: 10"`
	MinFrames int      `conf:"min_frames" help:"frames that must show a fault before it is reported; 0: 10"`
}

// DefaultConfig expects no VLAN in particular.
func DefaultConfig() Config { return Config{MinFlows: 10, MinFrames: 10} }

const (
	fullSample = 1 << 14 // samples before only a part of the packets is one
	sampleOf   = 64

	protoTCP = 6
	protoUDP = 17

	// largeFrame is an Ethernet frame of 1500 octets of IP with two tags and FCS (IEEE 802.3ac, 802.1ad).
	largeFrame = 1526
	// hugeFrame is beyond the jumbo frames that switches forward (9216 octets and headers).
	hugeFrame = 9250
)

// Observer looks at the traffic of one worker.
type Observer struct {
	cfg Config
	on  *Counts // of the current interface

	flowLimit, copyLimit uint32 // a hash up to this is in the sample
	seen                 uint64 // packets in all

	all    map[string]*Counts
	list   []*Counts // in the order met
	byRec  *Counts   // of the last record
	copies [tableSize]firstCopy
	talks  [tableSize]talk
	tick   uint32       // counts samples, to check every few
	told   map[any]bool // findings that News has returned
}

const tableSize = 1024

// maxInterfaces bounds the interfaces that are told apart; later ones are counted together.
const maxInterfaces = 256

// New returns an Observer for one worker.
func New(cfg Config) *Observer {
	d := DefaultConfig()
	if cfg.MinFlows <= 0 {
		cfg.MinFlows = d.MinFlows
	}
	if cfg.MinFrames <= 0 {
		cfg.MinFrames = d.MinFrames
	}
	o := &Observer{cfg: cfg, all: make(map[string]*Counts), flowLimit: math.MaxUint32, copyLimit: math.MaxUint32}
	o.On("")
	return o
}

// On says on which interface (or from which file) the next packets come.
func (o *Observer) On(name string) {
	if o.on != nil && o.on.Interface == name {
		return
	}
	o.on = o.counts(name)
}

func (o *Observer) counts(name string) *Counts {
	c := o.all[name]
	if c == nil {
		if len(o.list) >= maxInterfaces {
			return o.list[maxInterfaces-1]
		}
		c = &Counts{Interface: name, ClockOffset: math.MaxInt64, last: never}
		o.all[name] = c
		o.list = append(o.list, c)
	}
	return c
}

// Packet looks at a frame and what it was decoded to (verdict OK). The time of frames is compared within one interface, so On is to be
// called when it changes.
func (o *Observer) Packet(f *capture.Frame, p *decode.Packet) {
	c := o.on
	c.Packets++
	if f.Time < c.last-stepBack {
		c.back(c.last - f.Time)
	}
	c.last = f.Time
	if uint32(len(f.Data)) < f.Len {
		c.Cut++
		c.CutLength = max(c.CutLength, uint32(len(f.Data)))
	}
	if p.FrameLen > largeFrame && p.Protocol == protoTCP {
		c.large(p)
	}
	if p.Protocol == protoTCP {
		if p.Flags&decode.SYN != 0 {
			c.MSS = max(c.MSS, p.MSS)
		}
		if uint32(p.SrcPort^p.DstPort)*0x9e3779b1 <= o.flowLimit {
			o.follow(p)
		}
		if p.Seq*0x85ebca6b <= o.copyLimit && p.PayloadLen != 0 {
			o.compare(f, p)
		}
	} else if p.Protocol == protoUDP && len(p.Payload) >= 8 {
		// The identifiers of DNS and RTP change in the first four octets, the rest is where other protocols differ.
		b := p.Payload
		if (uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24)*0x85ebca6b <= o.copyLimit {
			o.compare(f, p)
		}
	}
}

// sampled ends the time in which all is looked at. It is called for samples only.
func (o *Observer) sampled() {
	if o.seen++; o.seen == fullSample {
		o.flowLimit, o.copyLimit = math.MaxUint32/sampleOf, math.MaxUint32/sampleOf
	}
}

// stepBack is how far, in ns, a frame may be behind the one before: queues of a card and of ERSPAN reorder by less.
const stepBack = 1e6

// never is the time of the frame before the first.
const never = math.MinInt64 + stepBack

func (c *Counts) back(by int64) {
	c.Backwards++
	c.BackwardsMost = max(c.BackwardsMost, by)
}

// large counts a TCP frame longer than Ethernet's usual maximum.
func (c *Counts) large(p *decode.Packet) {
	c.Large++
	if p.FrameLen > hugeFrame || c.MSS > 0 && p.Tunnel == flow.TunnelNone && p.PayloadLen > uint32(c.MSS) {
		c.Joined++
	}
}

// Clock compares the capture's clock with the wall clock, ns since the Unix epoch. A live worker calls it now and then, soon after packets have
// come; files do not.
func (o *Observer) Clock(now int64) {
	if o.on.last != never {
		// What packets wait for in the ring makes the difference larger, never smaller: the least one is nearest to the truth.
		o.on.ClockOffset = min(o.on.ClockOffset, now-o.on.last)
	}
}

// Record looks at a flow record: whether both directions of connections are seen, and which VLANs there are.
func (o *Observer) Record(r *flow.Record) {
	c := o.byRec
	if c == nil || c.Interface != r.Interface {
		c = o.counts(r.Interface)
		o.byRec = c
	}
	c.Records++
	c.VLANs[r.VLAN>>6&63] |= 1 << (r.VLAN & 63)
	if r.Protocol != protoTCP || r.Segment != 0 {
		return
	}
	switch {
	case r.SrcPackets > 0 && r.DstPackets > 0:
		c.TwoWay++
	case oneSided(r.SrcTCPFlags, r.SrcPackets) || oneSided(r.DstTCPFlags, r.DstPackets):
		c.OneWay++
	}
}

// oneSided: a side that acknowledges, more than once and without refusing, has heard another that was not seen. A SYN without an answer, or a
// RST to somebody's forged packets, is no sign of that.
func oneSided(flags uint8, packets uint64) bool {
	return packets >= 3 && flags&decode.ACK != 0 && (flags&decode.RST == 0 || flags&decode.PSH != 0)
}

// Decay halves all counts, so that what was put right is soon forgotten. A live worker calls it every few minutes.
func (o *Observer) Decay() {
	for _, c := range o.list {
		c.halve()
	}
}

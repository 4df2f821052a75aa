package netflow

import (
	"encoding/binary"
	"errors"
	"strings"

	decoder "github.com/netsampler/goflow2/v2/decoders/netflow"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// reversePEN marks the fields of the other direction (RFC 5103, section 6.1).
const reversePEN = 29305

// ntpEpoch is 1970 in NTP's seconds.
const ntpEpoch = 2208988800

// message is what the header of a datagram says.
type message struct {
	origin   string
	from     flow.Addr
	domain   uint32
	exported int64
	boot     int64 // NetFlow v9
}

// sets reads the data of a message.
func (e *exporter) sets(m *message, sets []any, skip func(string, uint64, int64, error), emit Emit) error {
	for _, s := range sets {
		switch s := s.(type) {
		case decoder.OptionsDataFlowSet:
			for _, r := range s.Records {
				e.options(m, r)
				if emit != nil {
					skip(source.SkipOptions, 1, m.exported, nil)
				}
			}
		case decoder.DataFlowSet:
			if emit == nil {
				continue
			}
			for _, r := range s.Records {
				h, ok := e.half(m, r.Values)
				if !ok {
					skip(source.SkipUnknown, 1, m.exported, errors.New("a record without packets or octets, or without times"))
					continue
				}
				if err := hand(&h, skip, emit); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// options learns the sampling of a domain, or of a sampler of it.
func (e *exporter) options(m *message, r decoder.OptionsDataRecord) {
	var rate, space uint64
	var sampler uint64
	for _, list := range [][]decoder.DataField{r.ScopesValues, r.OptionsValues} {
		for _, f := range list {
			if f.PenProvided {
				continue
			}
			v := number(f.Value)
			switch f.Type {
			case 34, 50: // samplingInterval, samplerRandomInterval
				rate = max(rate, v)
			case 305: // samplingPacketInterval: so many are taken …
				rate = max(rate, max(v, 1))
			case 306: // … and so many passed over
				space = v
			case 48, 302: // samplerId, selectorId
				sampler = v
			case 160: // systemInitTimeMilliseconds
				if len(e.boot) < MaxTemplates {
					e.boot[m.domain] = milliseconds(v)
				}
			}
		}
	}
	if space > 0 && rate > 0 {
		rate = (rate + space) / rate
	}
	if rate > 0 && rate <= 1<<24 && len(e.sampling) < MaxTemplates {
		e.sampling[uint64(m.domain)<<32|sampler&0xffffffff] = uint32(rate)
		e.sampling[uint64(m.domain)<<32] = uint32(rate)
	}
}

func number(v any) (n uint64) {
	b, _ := v.([]byte)
	if len(b) > 8 {
		return 0
	}
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

func address(v any) (a flow.Addr) {
	switch b, _ := v.([]byte); len(b) {
	case 4:
		return v4(binary.BigEndian.Uint32(b))
	case 16:
		return flow.Addr(b)
	}
	return a
}

func macOf(v any) flow.MAC {
	if b, _ := v.([]byte); len(b) == 6 {
		return flow.MACFrom(b)
	}
	return 0
}

// ntp is the 64-bit time of RFC 5905 as ns since 1970.
func ntp(n uint64) int64 {
	return (int64(n>>32)-ntpEpoch)*1e9 + int64((n&0xffffffff)*1e9>>32)
}

// half reads the fields of a data record; false: it is no flow.
func (e *exporter) half(m *message, values []decoder.DataField) (h biflow.Half, ok bool) {
	h.Origin, h.Exporter, h.Domain = m.origin, m.from, m.domain
	var input uint32
	var rate, sampler, boot uint64
	var icmpSeen, started, ended bool
	start := func(t int64) { h.Start, started = t, true }
	end := func(t int64) { h.End, ended = t, true }
	var first, last uint64
	var relative bool
	for _, f := range values {
		v := number(f.Value)
		if f.PenProvided {
			if f.Pen == reversePEN {
				switch f.Type {
				case 1, 85:
					h.RevBytes = v
				case 2, 86:
					h.RevPackets = v
				case 6:
					h.RevFlags = uint8(v)
				}
			}
			continue
		}
		switch f.Type {
		case 1, 85: // octetDeltaCount, octetTotalCount
			h.Bytes, ok = v, true
		case 2, 86:
			h.Packets, ok = v, true
		case 231: // initiatorOctets (firewalls)
			h.Bytes, h.BeginKnown, ok = v, true, true
		case 232:
			h.RevBytes = v
		case 298:
			h.Packets, h.BeginKnown, ok = v, true, true
		case 299:
			h.RevPackets = v
		case 4:
			h.Protocol = uint8(v)
		case 5:
			h.DSCP = uint8(v) >> 2
		case 6:
			h.Flags = uint8(v)
		case 7:
			h.SrcPort = uint16(v)
		case 11:
			h.DstPort = uint16(v)
		case 8, 27:
			if a := address(f.Value); a != (flow.Addr{}) {
				h.Src = a
			}
		case 12, 28:
			if a := address(f.Value); a != (flow.Addr{}) {
				h.Dst = a
			}
		case 10:
			input = uint32(v)
		case 32, 139:
			if v != 0 {
				h.ICMPType, h.ICMPCode, icmpSeen = uint8(v>>8), uint8(v), true
			}
		case 176, 178:
			h.ICMPType, icmpSeen = uint8(v), true
		case 177, 179:
			h.ICMPCode, icmpSeen = uint8(v), true
		case 22:
			first, relative = v, true
		case 21:
			last, relative = v, true
		case 150:
			start(int64(v) * 1e9)
		case 151:
			end(int64(v) * 1e9)
		case 152:
			start(milliseconds(v))
		case 153:
			end(milliseconds(v))
		case 154, 156:
			start(ntp(v))
		case 155, 157:
			end(ntp(v))
		case 158:
			start(m.exported - int64(min(v, 1<<40))*1000)
		case 159:
			end(m.exported - int64(min(v, 1<<40))*1000)
		case 160:
			boot = v
		case 323: // observationTimeMilliseconds, of an event
			if !ended {
				end(milliseconds(v))
			}
		case 34, 50:
			rate = max(rate, v)
		case 305:
			rate = max(rate, v)
		case 48, 302:
			sampler = v
		case 56:
			h.SrcMAC = macOf(f.Value)
		case 80:
			h.DstMAC = macOf(f.Value)
		case 58, 243:
			h.VLAN = uint16(v) & 0xfff
		case 61:
			h.Direction = biflow.Ingress
			if v == 1 {
				h.Direction = biflow.Egress
			}
		case 136:
			if v <= 5 {
				h.EndReason = flow.EndReason(v)
			}
		case 239:
			h.BeginKnown, h.Reversed = v == 1 || v == 2, v == 2
		case 25:
			h.MinSize = uint16(min(v, 65535))
		case 26:
			h.MaxSize = uint16(min(v, 65535))
		case 52, 192:
			h.TTL = uint8(v)
		case 352:
			h.FrameBytes = v
		case 96:
			if b, _ := f.Value.([]byte); len(b) > 0 && len(b) <= 64 {
				h.App = strings.ToLower(strings.TrimRight(string(b), "\x00 "))
			}
		}
	}
	if relative && !started && !ended {
		base := m.boot
		switch {
		case boot != 0:
			base = milliseconds(boot)
		case base == 0:
			base = e.boot[m.domain]
		}
		if base == 0 { // IPFIX that does not say since when
			return h, false
		}
		now := uint32((m.exported - base) / 1e6)
		h.Start, h.End = base+uptime(uint32(first), now), base+uptime(uint32(last), now)
	} else if !started && !ended {
		h.Start, h.End = m.exported, m.exported
	} else if !started {
		h.Start = h.End
	} else if !ended {
		h.End = h.Start
	}
	if h.Protocol == 1 || h.Protocol == 58 {
		if !icmpSeen {
			h.ICMPType, h.ICMPCode = uint8(h.DstPort>>8), uint8(h.DstPort)
		}
		h.SrcPort, h.DstPort = 0, 0
	}
	h.Interface = name(m.from, input)
	if rate == 0 {
		rate = uint64(e.sampling[uint64(m.domain)<<32|sampler&0xffffffff])
		if rate == 0 {
			rate = uint64(e.sampling[uint64(m.domain)<<32])
		}
	}
	if rate > 1 && rate <= 1<<24 {
		h.Sampling = uint32(rate)
		h.Packets, h.Bytes, h.FrameBytes = scale(h.Packets, rate), scale(h.Bytes, rate), scale(h.FrameBytes, rate)
		h.RevPackets, h.RevBytes = scale(h.RevPackets, rate), scale(h.RevBytes, rate)
	}
	return h, ok
}

// scale multiplies what cannot be stored when it wraps.
func scale(n, by uint64) uint64 {
	if n > 1<<62/by {
		return 1 << 62
	}
	return n * by
}

func milliseconds(v uint64) int64 { return int64(min(v, 1<<42)) * 1e6 }

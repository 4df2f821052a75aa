package trace

import (
	"bytes"
	"net/netip"
	"slices"
)

// Session is one recorded connection or one UDP exchange, whole, in the order of the wire.
type Session struct {
	Protocol       uint8
	Client, Server netip.AddrPort // the client sent the first packet
	Packets        []Packet
}

// Start is the time of the first packet in microseconds.
func (s Session) Start() int64 { return s.Packets[0].Time }

// Closed reports whether TCP packets show the whole life of a connection: a SYN first, and a FIN or RST at the end.
// Other protocols count as closed.
func (s Session) Closed() bool {
	if s.Protocol != TCP {
		return true
	}
	first, _ := Parse(s.Packets[0].Data)
	ended := false
	for _, p := range s.Packets {
		h, _ := Parse(p.Data)
		ended = ended || h.Flags&(FIN|RST) != 0
	}
	return first.Flags&(SYN|ACK) == SYN && ended
}

// Sessions groups the TCP and UDP packets of a capture by five-tuple, ordered by their first packet. It shares the
// bytes of the packets.
func Sessions(packets []Packet) []Session {
	type tuple struct {
		protocol uint8
		a, b     netip.AddrPort
	}
	at := map[tuple]int{}
	var out []Session
	for _, p := range packets {
		h, ok := Parse(p.Data)
		if !ok || h.Protocol != TCP && h.Protocol != UDP {
			continue
		}
		i, known := at[tuple{h.Protocol, h.Src, h.Dst}]
		if !known {
			i, known = at[tuple{h.Protocol, h.Dst, h.Src}]
		}
		if !known {
			i = len(out)
			at[tuple{h.Protocol, h.Src, h.Dst}] = i
			out = append(out, Session{Protocol: h.Protocol, Client: h.Src, Server: h.Dst})
		}
		out[i].Packets = append(out[i].Packets, p)
	}
	return out
}

// Place returns a copy of the session that starts in the second of start (microseconds) with another client port. Everything
// moves by the same whole number of seconds, so the gaps within the connection are those recorded.
func (s Session) Place(start int64, port uint16) []Packet {
	shift := (start/1e6 - s.Start()/1e6) * 1e6
	out := make([]Packet, len(s.Packets))
	for i, p := range s.Packets {
		q := Packet{Time: p.Time + shift, Length: p.Length, Data: slices.Clone(p.Data)}
		if h, ok := Parse(q.Data); ok {
			if h.Src == s.Client {
				h.setPort(q.Data, h.l4, port)
			} else {
				h.setPort(q.Data, h.l4+2, port)
			}
		}
		out[i] = q
	}
	return out
}

// Shift returns the packets moved by a fixed number of microseconds, sharing their bytes.
func Shift(packets []Packet, by int64) []Packet {
	out := slices.Clone(packets)
	for i := range out {
		out[i].Time += by
	}
	return out
}

// What Cut keeps of payloads.
const (
	keepHello = 140 // a ServerHello
	keepReply = 320 // the head of an HTTP response
	keepRest  = 5   // a TLS record header
)

// Cut shortens the payload of TCP packets which carry bulk; Length keeps the size on the wire. What names
// the traffic stays: the first two payloads of each side of SSH, the client's first payload (a ClientHello), every HTTP
// request, the first 140 octets of the first reply (a ServerHello) and the first 320 of every HTTP response. Other packets keep
// 5 octets of payload.
func Cut(packets []Packet) []Packet {
	out := slices.Clone(packets)
	seen := map[[2]netip.AddrPort]int{}
	for i := range out {
		p := &out[i]
		h, ok := Parse(p.Data)
		if !ok || h.Protocol != TCP || h.Size == 0 || h.Payload > len(p.Data) {
			continue
		}
		if h.Flags&SYN != 0 {
			seen[[2]netip.AddrPort{h.Src, h.Dst}] = 0
			continue
		}
		way := [2]netip.AddrPort{h.Src, h.Dst}
		seen[way]++
		payload := p.Data[h.Payload:]
		keep := keepRest
		client := h.Src.Port() > h.Dst.Port()
		switch {
		case seen[way] <= 2 && (h.Src.Port() == 22 || h.Dst.Port() == 22),
			client && seen[way] == 1,
			client && isRequest(payload):
			keep = len(payload)
		case !client && bytes.HasPrefix(payload, []byte("HTTP/1.")):
			keep = keepReply
		case !client && seen[way] == 1:
			keep = keepHello
		}
		// A bulk packet may be the client's first payload of a resumed cut; no request is longer than 2 kB here.
		keep = min(keep, len(payload), 2048)
		p.Data = p.Data[:h.Payload+keep]
	}
	return out
}

func isRequest(payload []byte) bool {
	for _, method := range []string{"GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "PATCH "} {
		if bytes.HasPrefix(payload, []byte(method)) {
			return true
		}
	}
	return false
}

package scene

import (
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/tapwatch/tapwatch/deploy/demo/trace"
)

// largest is the payload of one packet of a bulk transfer: what a tap behind a
// card that joins segments shows.
const largest = 64000

// wire writes frames. It is for one goroutine.
type wire struct {
	packets []trace.Packet
	buffer  gopacket.SerializeBuffer
	moved   map[netip.Addr]netip.Addr // the address that a card had before, by the one it has now
}

// mac gives every address a hardware address of its own, unless a card came with
// it from another; all that is outside comes through the gateway.
func (w *wire) mac(a netip.Addr) []byte {
	if before, ok := w.moved[a]; ok {
		a = before
	}
	b := a.As16()
	if !inside.Contains(a) {
		return []byte{0x02, 0x30, 0, 0, 0, 1}
	}
	return []byte{0x02, 0x30, b[12], b[13], b[14], b[15]}
}

// frame puts layers, whose payload fills fill further octets on the wire that are
// not kept, into the capture.
func (w *wire) frame(at time.Time, fill int, list ...gopacket.SerializableLayer) {
	w.buffer.Clear()
	if err := gopacket.SerializeLayers(w.buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: fill == 0}, list...); err != nil {
		panic(err) // layers of our own making
	}
	data := append([]byte(nil), w.buffer.Bytes()...)
	if fill > 0 {
		// The IP header tells the length on the wire; what pads a short frame goes.
		total := int(data[16])<<8 + int(data[17])
		data = data[:14+total]
		total += fill
		data[16], data[17] = byte(total>>8), byte(total)
		if data[23] == 17 {
			length := int(data[38])<<8 + int(data[39]) + fill
			data[38], data[39] = byte(length>>8), byte(length)
		}
	}
	w.packets = append(w.packets, trace.Packet{Time: at.UnixMicro(), Length: len(data) + fill, Data: data})
}

func (w *wire) ethernet(src, dst netip.Addr) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: w.mac(src), DstMAC: w.mac(dst), EthernetType: layers.EthernetTypeIPv4}
}

// whoHas is an ARP request, by which everybody learns the card of who asks.
func (w *wire) whoHas(at time.Time, src, dst netip.Addr) {
	w.frame(at, 0, &layers.Ethernet{SrcMAC: w.mac(src), DstMAC: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: w.mac(src), SourceProtAddress: src.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: dst.AsSlice()})
}

// cut has a host of the office be down from one moment to another: whatever it sends is
// lost, and of what is sent to it stay pings and SYNs, which are repeated twice.
func (w *wire) cut(host netip.Addr, from, to time.Time) {
	var left, again []trace.Packet
	for _, p := range w.packets {
		at := time.UnixMicro(p.Time)
		h, _ := trace.Parse(p.Data) // what is not IP is of nobody
		toward := h.Dst.Addr() == host
		switch {
		case at.Before(from) || !at.Before(to) || h.Src.Addr() != host && !toward, toward && h.Protocol == trace.ICMP:
			left = append(left, p)
		case toward && h.Protocol == trace.TCP && h.Flags == trace.SYN:
			left = append(left, p)
			for _, later := range []time.Duration{time.Second, 3 * time.Second} {
				r := p
				r.Time += later.Microseconds()
				again = append(again, r)
			}
		}
	}
	w.packets = append(left, again...)
}

func ip(src, dst netip.Addr, p layers.IPProtocol) *layers.IPv4 {
	ttl := uint8(64)
	if !inside.Contains(src) {
		ttl = 51
	}
	return &layers.IPv4{Version: 4, IHL: 5, TTL: ttl, Protocol: p, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(), Flags: layers.IPv4DontFragment}
}

// segment is one TCP segment.
func (w *wire) segment(at time.Time, src, dst netip.AddrPort, seq, ack uint32, flags string, payload []byte, fill int) {
	i := ip(src.Addr(), dst.Addr(), layers.IPProtocolTCP)
	t := &layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: seq, Ack: ack, Window: 64240}
	for _, f := range flags {
		switch f {
		case 'S':
			t.SYN = true
			t.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}
		case 'A':
			t.ACK = true
		case 'F':
			t.FIN = true
		case 'R':
			t.RST = true
		case 'P':
			t.PSH = true
		}
	}
	_ = t.SetNetworkLayerForChecksum(i) // IPv4: cannot fail
	w.frame(at, fill, w.ethernet(src.Addr(), dst.Addr()), i, t, gopacket.Payload(payload))
}

// datagram is one UDP datagram.
func (w *wire) datagram(at time.Time, src, dst netip.AddrPort, payload []byte, fill int) {
	i := ip(src.Addr(), dst.Addr(), layers.IPProtocolUDP)
	u := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	_ = u.SetNetworkLayerForChecksum(i)
	w.frame(at, fill, w.ethernet(src.Addr(), dst.Addr()), i, u, gopacket.Payload(payload))
}

// echo is one ICMP echo request or reply.
func (w *wire) echo(at time.Time, src, dst netip.Addr, reply bool, id, seq uint16, payload []byte) {
	kind := uint8(layers.ICMPv4TypeEchoRequest)
	if reply {
		kind = layers.ICMPv4TypeEchoReply
	}
	w.frame(at, 0, w.ethernet(src, dst), ip(src, dst, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id, Seq: seq}, gopacket.Payload(payload))
}

// conn is a TCP connection that is being written; now is the moment of its next
// packet.
type conn struct {
	w              *wire
	client, server netip.AddrPort
	cseq, sseq     uint32
	rtt            time.Duration
	now            time.Time
}

// dial writes a handshake.
func (w *wire) dial(at time.Time, client, server netip.AddrPort, rtt time.Duration, isn uint32) *conn {
	c := &conn{w: w, client: client, server: server, cseq: isn, sseq: isn ^ 0x5bd1e995, rtt: rtt, now: at}
	w.segment(c.now, client, server, c.cseq, 0, "S", nil, 0)
	c.cseq++
	c.now = c.now.Add(rtt)
	w.segment(c.now, server, client, c.sseq, c.cseq, "SA", nil, 0)
	c.sseq++
	c.now = c.now.Add(50 * time.Microsecond)
	w.segment(c.now, client, server, c.cseq, c.sseq, "A", nil, 0)
	return c
}

// wait lets time pass.
func (c *conn) wait(d time.Duration) { c.now = c.now.Add(d) }

// ask sends from the client, answer from the server: payload, and fill octets
// more on the wire.
func (c *conn) ask(payload []byte, fill int) {
	c.w.segment(c.now, c.client, c.server, c.cseq, c.sseq, "PA", payload, fill)
	c.cseq += uint32(len(payload) + fill)
	c.now = c.now.Add(c.rtt / 2)
}

func (c *conn) answer(payload []byte, fill int) {
	c.now = c.now.Add(c.rtt / 2)
	c.w.segment(c.now, c.server, c.client, c.sseq, c.cseq, "PA", payload, fill)
	c.sseq += uint32(len(payload) + fill)
	c.now = c.now.Add(time.Millisecond)
}

// bulk moves many octets one way within a time.
func (c *conn) bulk(up bool, octets int64, within time.Duration) {
	n := max(1, int((octets+largest-1)/largest))
	for k := range n {
		size := int(min(int64(largest), octets))
		octets -= int64(size)
		if up {
			c.w.segment(c.now, c.client, c.server, c.cseq, c.sseq, "A", nil, size)
			c.cseq += uint32(size)
		} else {
			c.w.segment(c.now, c.server, c.client, c.sseq, c.cseq, "A", nil, size)
			c.sseq += uint32(size)
		}
		if k%16 == 15 || k == n-1 {
			if up {
				c.w.segment(c.now.Add(c.rtt), c.server, c.client, c.sseq, c.cseq, "A", nil, 0)
			} else {
				c.w.segment(c.now.Add(c.rtt), c.client, c.server, c.cseq, c.sseq, "A", nil, 0)
			}
		}
		c.now = c.now.Add(within / time.Duration(n))
	}
	c.now = c.now.Add(c.rtt)
}

// close ends the connection in order, abort with a reset by the client.
func (c *conn) close() {
	c.w.segment(c.now, c.client, c.server, c.cseq, c.sseq, "FA", nil, 0)
	c.w.segment(c.now.Add(c.rtt), c.server, c.client, c.sseq, c.cseq+1, "FA", nil, 0)
	c.w.segment(c.now.Add(c.rtt+50*time.Microsecond), c.client, c.server, c.cseq+1, c.sseq+1, "A", nil, 0)
	c.now = c.now.Add(c.rtt + time.Millisecond)
}

func (c *conn) abort() { c.w.segment(c.now, c.client, c.server, c.cseq, c.sseq, "RA", nil, 0) }

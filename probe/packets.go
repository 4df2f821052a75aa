package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Packets lists the packets of a capture one a line, much as tcpdump does: time
// (UTC), addresses, and what the transport header says. Packets that are not
// decoded are listed with the reason. count > 0 ends after so many packets.
func Packets(ctx context.Context, path, filter string, count int, out io.Writer) error {
	src, err := capture.OpenFile(path, capture.FileOptions{Filter: filter})
	if err != nil {
		return err
	}
	defer src.Close()
	w := bufio.NewWriter(out)
	err = list(ctx, src, count, w)
	if s := src.Stats(); err == nil && s.Truncation != nil {
		err = s.Truncation
	}
	if flushed := w.Flush(); err == nil {
		err = flushed
	}
	return err
}

func list(ctx context.Context, src capture.Source, count int, w *bufio.Writer) error {
	var (
		dec  = decode.New(decode.DefaultConfig())
		f    capture.Frame
		p    decode.Packet
		line []byte
	)
	for n := 0; (count <= 0 || n < count) && ctx.Err() == nil; n++ {
		switch err := src.Next(&f); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, capture.ErrTimeout):
			n--
			continue
		case err != nil:
			return err
		}
		line = time.Unix(0, f.Time).UTC().AppendFormat(line[:0], "2006-01-02 15:04:05.000000 ")
		if verdict := dec.Decode(&f, &p); verdict != decode.OK {
			line = fmt.Appendf(line, "%s, length %d", verdict.String(), f.Len)
		} else {
			line = appendPacket(line, &p)
		}
		line = append(line, '\n')
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return ctx.Err()
}

var protocolNames = map[uint8]string{flow.ProtoICMP: "ICMP", flow.ProtoTCP: "TCP", flow.ProtoUDP: "UDP", flow.ProtoICMPv6: "ICMPv6", flow.ProtoSCTP: "SCTP",
	2: "IGMP", 47: "GRE", 50: "ESP", 51: "AH", 88: "EIGRP", 89: "OSPF", 103: "PIM", 112: "VRRP"}

func appendPacket(b []byte, p *decode.Packet) []byte {
	if p.VLAN != 0 {
		b = fmt.Appendf(b, "vlan %d, ", p.VLAN)
	}
	if p.VLANInner != 0 {
		b = fmt.Appendf(b, "vlan %d, ", p.VLANInner)
	}
	if p.Tunnel != flow.TunnelNone {
		b = fmt.Appendf(b, "%s %d, ", p.Tunnel, p.TunnelID)
	}
	b = append(b, "IP"...)
	if !p.Src.Is4() {
		b = append(b, '6')
	}
	b = append(b, ' ')
	ports := p.Protocol == flow.ProtoTCP || p.Protocol == flow.ProtoUDP || p.Protocol == flow.ProtoSCTP
	b = appendEnd(b, p.Src, p.SrcPort, ports)
	b = append(b, " > "...)
	b = appendEnd(b, p.Dst, p.DstPort, ports)
	b = append(b, ": "...)
	switch p.Protocol {
	case flow.ProtoTCP:
		b = append(b, "Flags ["...)
		b = appendFlags(b, p.Flags)
		b = fmt.Appendf(b, "], seq %d", p.Seq)
		if p.Flags&decode.ACK != 0 {
			b = fmt.Appendf(b, ", ack %d", p.Ack)
		}
		b = fmt.Appendf(b, ", win %d", p.Window)
	case flow.ProtoICMP, flow.ProtoICMPv6:
		b = fmt.Appendf(b, "%s type %d code %d, id %d", protocolNames[p.Protocol], p.SrcPort, p.DstPort, p.ICMPID)
	default:
		if name, ok := protocolNames[p.Protocol]; ok {
			b = append(b, name...)
		} else {
			b = append(b, "ip-proto-"...)
			b = strconv.AppendUint(b, uint64(p.Protocol), 10)
		}
	}
	if p.Fragment {
		b = append(b, ", fragment"...)
	}
	return fmt.Appendf(b, ", length %d", p.PayloadLen)
}

func appendEnd(b []byte, a flow.Addr, port uint16, ports bool) []byte {
	b = a.Netip().AppendTo(b)
	if ports {
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(port), 10)
	}
	return b
}

// appendFlags writes the letters that tcpdump uses.
func appendFlags(b []byte, flags uint8) []byte {
	n := len(b)
	for _, f := range [...]struct {
		bit  uint8
		name byte
	}{{decode.FIN, 'F'}, {decode.SYN, 'S'}, {decode.RST, 'R'}, {decode.PSH, 'P'}, {decode.ACK, '.'}, {decode.URG, 'U'}, {decode.ECE, 'E'}, {decode.CWR, 'W'}} {
		if flags&f.bit != 0 {
			b = append(b, f.name)
		}
	}
	if len(b) == n {
		return append(b, "none"...)
	}
	return b
}

package dpi

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/tapwatch/tapwatch/proto/flow"
)

const (
	maxName     = 255 // octets of a name on the wire (RFC 1035, section 3.1)
	maxPointers = 32  // compression pointers followed in one name
)

// skipName returns the place after the name at off.
func skipName(b []byte, off int) (next int, ok bool) {
	for start := off; off < len(b) && off-start < maxName; {
		n := int(b[off])
		switch {
		case n == 0:
			return off + 1, true
		case n&0xc0 == 0xc0:
			return off + 2, off+2 <= len(b)
		case n&0xc0 != 0:
			return 0, false
		}
		off += 1 + n
	}
	return 0, false
}

// appendName appends the name at off as text without the dot at its end: case
// as on the wire, "." and "\" within a label escaped, what is not printable
// ASCII as \DDD (RFC 1035, section 5.1). Pointers must lead backwards, so the
// work is bounded. next is the place after the name.
func appendName(dst, b []byte, off int) (out []byte, next int, ok bool) {
	next, size, pointers, start := 0, 0, 0, len(dst)
	for floor := off; off < len(b); {
		n := int(b[off])
		switch {
		case n == 0:
			if next == 0 {
				next = off + 1
			}
			return dst, next, true
		case n&0xc0 == 0xc0:
			if off+2 > len(b) {
				return dst, 0, false
			}
			if next == 0 {
				next = off + 2
			}
			target := int(binary.BigEndian.Uint16(b[off:])) & 0x3fff
			if pointers++; target >= floor || pointers > maxPointers {
				return dst, 0, false
			}
			off, floor = target, target
			continue
		case n&0xc0 != 0:
			return dst, 0, false
		}
		if size += n + 1; off+1+n > len(b) || size > maxName {
			return dst, 0, false
		}
		if len(dst) > start {
			dst = append(dst, '.')
		}
		dst = appendLabel(dst, b[off+1:off+1+n])
		off += 1 + n
	}
	return dst, 0, false
}

func appendLabel(dst, label []byte) []byte {
	for _, c := range label {
		switch {
		case c == '.' || c == '\\':
			dst = append(dst, '\\', c)
		case c <= ' ' || c >= 0x7f:
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// dnsName returns the name at off. NetBIOS names are decoded.
func (in *Inspector) dnsName(b []byte, off int, rec *flow.Record) (name string, next int, ok bool) {
	in.scratch, next, ok = appendName(in.scratch[:0], b, off)
	if !ok {
		return "", 0, false
	}
	if rec.App == "nbns" {
		in.text = appendNetBIOS(in.text[:0], in.scratch)
		return in.strings.get(in.shorten(in.text, rec)), next, true
	}
	return in.strings.get(in.shorten(in.scratch, rec)), next, true
}

// appendNetBIOS decodes the first-level encoding of a NetBIOS name (RFC 1001,
// section 14.1) to "NAME<20>", the suffix in hex; other names stay as they are.
func appendNetBIOS(dst, name []byte) []byte {
	if len(name) < 32 {
		return append(dst, name...)
	}
	var raw [16]byte
	for i := range raw {
		hi, lo := name[2*i]-'A', name[2*i+1]-'A'
		if hi > 15 || lo > 15 {
			return append(dst, name...)
		}
		raw[i] = hi<<4 | lo
	}
	n := 15
	for n > 0 && (raw[n-1] == ' ' || raw[n-1] == 0) {
		n--
	}
	dst = appendLabel(dst, raw[:n])
	dst = append(dst, '<', hexDigits[raw[15]>>4], hexDigits[raw[15]&15], '>')
	return append(dst, name[32:]...) // scope
}

// dnsData returns the data b[off:end] of an answer as text: addresses, names,
// the texts of TXT; of MX, SRV and SOA the host only; other types are "TYPEn".
func (in *Inspector) dnsData(b []byte, off, end int, rrtype uint16, rec *flow.Record) string {
	data, skip := b[off:end], -1
	switch rrtype {
	case typeA:
		if len(data) == 4 {
			in.text = netip.AddrFrom4([4]byte(data)).AppendTo(in.text[:0])
			return in.strings.get(in.text)
		}
	case typeAAAA:
		if len(data) == 16 {
			in.text = netip.AddrFrom16([16]byte(data)).AppendTo(in.text[:0])
			return in.strings.get(in.text)
		}
	case typeCNAME, typeNS, typePTR, typeDNAME, typeSOA:
		skip = 0
	case typeMX:
		skip = 2
	case typeSRV:
		skip = 6
	case typeTXT:
		return in.dnsText(data, rec)
	}
	if skip >= 0 && skip < len(data) {
		var ok bool
		if in.scratch, _, ok = appendName(in.scratch[:0], b[:end], off+skip); ok {
			return in.strings.get(in.shorten(in.scratch, rec))
		}
	}
	in.text = strconv.AppendUint(append(in.text[:0], "TYPE"...), uint64(rrtype), 10)
	return in.strings.get(in.text)
}

// dnsText joins the strings of a TXT record with spaces.
func (in *Inspector) dnsText(data []byte, rec *flow.Record) string {
	out := in.scratch[:0]
	for r := (reader{b: data}); len(r.b) > 0 && len(out) <= flow.MaxString; {
		part := r.take(r.u8())
		if r.bad {
			break
		}
		if len(out) > 0 {
			out = append(out, ' ')
		}
		out = append(out, part...)
	}
	in.scratch = out
	return in.printable(out, rec)
}

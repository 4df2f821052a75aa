package privacy

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// scope says from which bit on an address is replaced.
type scope struct {
	mode     string
	networks []netip.Prefix
	any6     bool // some IPv6 addresses are chosen
}

func newScope(c *Config) scope {
	s := scope{mode: c.Addresses, any6: c.Addresses == AddressesAll || c.Addresses == AddressesOutside}
	for _, n := range c.Networks {
		s.networks = append(s.networks, n.Masked())
		s.any6 = s.any6 || n.Addr().Is6()
	}
	return s
}

// first returns the position from which on the bits of a are replaced; ok is false when a is not chosen. It depends on bits before that
// position only, so it is the same for the pseudonym.
//
// A bit may change where all addresses that share the bits before it are chosen. Within a network that is behind its prefix; outside, behind
// the bit that tells the address from the nearest network.
func (s *scope) first(a netip.Addr) (first int, ok bool) {
	switch s.mode {
	case AddressesAll:
		return 0, true
	case AddressesWithin:
		for _, n := range s.networks {
			if n.Contains(a) && (!ok || n.Bits() < first) {
				first, ok = n.Bits(), true
			}
		}
		return first, ok
	case AddressesOutside:
		for _, n := range s.networks {
			if n.Addr().BitLen() != a.BitLen() {
				continue
			}
			common := min(commonBits(n.Addr(), a), n.Bits())
			if common == n.Bits() {
				return 0, false
			}
			first = max(first, common+1)
		}
		return first, true
	}
	return 0, false
}

// commonBits is the number of leading bits that two addresses of one family share.
func commonBits(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	n := bits.LeadingZeros64(binary.BigEndian.Uint64(x[:8]) ^ binary.BigEndian.Uint64(y[:8]))
	if n == 64 {
		n += bits.LeadingZeros64(binary.BigEndian.Uint64(x[8:]) ^ binary.BigEndian.Uint64(y[8:]))
	}
	return n - (128 - a.BitLen())
}

// address returns the pseudonym of a, or a where it is not chosen. The unset address stays unset.
func (f *Filter) address(a flow.Addr) flow.Addr {
	if a == (flow.Addr{}) || !f.touches {
		return a
	}
	if p, ok := f.addresses.get(a); ok {
		return p
	}
	p := f.translate(a, false)
	f.addresses.put(a, p)
	return p
}

// translate replaces a, or with back undoes it.
func (f *Filter) translate(a flow.Addr, back bool) flow.Addr {
	first, ok := f.scope.first(a.Netip())
	switch {
	case ok && a.Is4():
		f.pan.apply(a[12:], first, back)
	case ok:
		f.pan.apply(a[:], first, back)
	case !a.Is4():
		f.embedded(&a, back)
	}
	return a
}

// embedded replaces what an IPv6 address that is not chosen tells of others.
func (f *Filter) embedded(a *flow.Addr, back bool) {
	if prefix(a, 0x20, 0x02) { // 6to4 (RFC 3056)
		f.embedded4(a[2:6], back)
	}
	switch {
	case prefix(a, 0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0): // NAT64 (RFC 6052)
		f.embedded4(a[12:], back)
	case prefix(a, 0x20, 0x01, 0, 0): // Teredo (RFC 4380): server, and client with all bits inverted
		f.embedded4(a[4:8], back)
		invert(a[12:])
		f.embedded4(a[12:], back)
		invert(a[12:])
	case a[8]&^2 == 0 && a[9] == 0 && a[10] == 0x5e && a[11] == 0xfe: // ISATAP (RFC 5214, section 6.1)
		f.embedded4(a[12:], back)
	case prefix(a, 0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff): // solicited-node (RFC 4291, section 2.7.1)
		if f.pan != nil && (f.scope.any6 || f.hidesMACs()) {
			f.pan.apply(a[:], 104, back)
		}
	case a[11] == 0xff && a[12] == 0xfe && a[0] != 0xff && f.hidesMACs(): // EUI-64 (RFC 4291, appendix A)
		m := flow.MACFrom([]byte{a[8] ^ 2, a[9], a[10], a[13], a[14], a[15]})
		m = f.macs.translate(m, f.cfg.MACs == HashKeepVendor, back)
		a[8], a[9], a[10] = byte(m>>40)^2, byte(m>>32), byte(m>>24)
		a[13], a[14], a[15] = byte(m>>16), byte(m>>8), byte(m)
	}
}

func (f *Filter) embedded4(b []byte, back bool) {
	if first, ok := f.scope.first(netip.AddrFrom4([4]byte(b))); ok {
		f.pan.apply(b, first, back)
	}
}

func (f *Filter) hidesMACs() bool { return f.macs != nil }

func prefix(a *flow.Addr, octets ...byte) bool { return string(a[:len(octets)]) == string(octets) }

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

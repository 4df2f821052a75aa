package notify

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// closedNetworks are those that a webhook must not reach unless allowed: those
// that lead back to this machine, its neighbours, and the services that hand out
// credentials of clouds. From IANA's registries of special-purpose addresses
// (RFC 6890), and 100.64.0.0/10, which holds a cloud's metadata service too.
var closedNetworks = [...]string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
}

// guard decides which addresses may be dialled.
type guard struct {
	allow  []netip.Prefix
	closed []netip.Prefix
}

func newGuard(allow []netip.Prefix) guard {
	g := guard{}
	for _, p := range allow {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		g.allow = append(g.allow, p.Masked())
	}
	for _, text := range closedNetworks {
		g.closed = append(g.closed, netip.MustParsePrefix(text))
	}
	return g
}

// control is for net.Dialer: it sees the address that a name has resolved to,
// right before it is dialled, so that no later answer of a name server can
// change it.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &refusal{fmt.Errorf("dial %s: not an address", address)}
	}
	if !g.open(ap.Addr()) {
		return kit.Hint(&refusal{fmt.Errorf("dial %s: not a public address", ap.Addr())}, "name its network in allow, if it is meant")
	}
	return nil
}

// open says whether addr may be dialled. An IPv4 address within an IPv6 address
// (mapped, NAT64 RFC 6052, 6to4 RFC 3056) counts as that address.
func (g guard) open(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range g.allow {
		if p.Contains(addr) {
			return true
		}
	}
	for _, p := range g.closed {
		if p.Contains(addr) {
			return false
		}
	}
	if addr.Is6() {
		b := addr.As16()
		switch {
		case b[0] == 0 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b:
			return g.open(netip.AddrFrom4([4]byte(b[12:16])))
		case b[0] == 0x20 && b[1] == 0x02:
			return g.open(netip.AddrFrom4([4]byte(b[2:6])))
		}
	}
	return addr.IsValid()
}

package notify

import (
	"net/netip"
	"testing"
)

func TestGuard(t *testing.T) {
	closed := []string{"127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.100.100.200", "192.0.0.192",
		"224.0.0.1", "255.255.255.255", "198.18.0.1", "::", "::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1"}
	g := newGuard(nil)
	for _, a := range closed {
		if g.open(netip.MustParseAddr(a)) {
			t.Errorf("%s may be dialled", a)
		}
	}
	for _, a := range []string{"8.8.8.8", "::ffff:8.8.8.8", "2a00:1450:4001::1", "64:ff9b::808:808", "2002:808:808::1", "172.32.0.1", "100.128.0.1"} {
		if !g.open(netip.MustParseAddr(a)) {
			t.Errorf("%s may not be dialled", a)
		}
	}
	if g.open(netip.Addr{}) || g.control("tcp", "nonsense", nil) == nil {
		t.Error("what is no address may be dialled")
	}
	g = newGuard([]netip.Prefix{netip.MustParsePrefix("::ffff:10.1.0.0/112"), netip.MustParsePrefix("fd00::/8")})
	for a, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "fd00::1": true, "fc00::1": false, "127.0.0.1": false} {
		if got := g.open(netip.MustParseAddr(a)); got != want {
			t.Errorf("with allow: %s: %v, want %v", a, got, want)
		}
	}
}

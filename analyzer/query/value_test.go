package query

import (
	"bytes"
	"net/netip"
	"testing"
)

func FuzzNetwork(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "10.0.0.0/8", "::/0", "0.0.0.0/0", "2001:db8::/33", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "fe80::1%eth0", "10.0.0.1/33"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lo, hi, ok := network(s)
		if !ok {
			return
		}
		if bytes.Compare(lo[:], hi[:]) > 0 {
			t.Errorf("%q: %s > %s", s, lo, hi)
		}
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() && (!p.Contains(lo.Netip()) || !p.Contains(hi.Netip())) {
			t.Errorf("%q does not hold %s to %s", s, lo, hi)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-11-01T10:00:00Z", "2026-11-01", "0", "1793581366.5", "1e9", "-1", "NaN", "9999-12-31", "0x1p3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := ParseTime(s); err == nil && (at.Before(minTime) || at.After(maxTime)) {
			t.Errorf("%q is %v", s, at)
		}
		if d, err := ParseLength(s); err == nil && d <= 0 {
			t.Errorf("%q is %v", s, d)
		}
	})
}

package respond

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// never are addresses that mean this machine, a group or nobody.
var never = [...]string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/127", "fe80::/10", "ff00::/8", "::ffff:0:0/96"}

// refuse says why nothing may be done to a target, empty: it may. An error means
// that it is not known, and then nothing is to be done.
func (r *Responder) refuse(ctx context.Context, kind string, target netip.Prefix) (string, error) {
	for _, network := range never {
		if p := netip.MustParsePrefix(network); p.Overlaps(target) {
			return fmt.Sprintf("%s holds addresses that mean this machine, a group or nobody (%s)", text(target), p), nil
		}
	}
	least := r.cfg.MinBits4
	if target.Addr().Is6() {
		least = r.cfg.MinBits6
	}
	if target.Bits() < least {
		return fmt.Sprintf("%s is larger than a /%d", target, least), nil
	}
	inside := false
	for _, p := range r.inside {
		p = plain(p)
		switch {
		case kind == Block && p.Overlaps(target):
			return fmt.Sprintf("%s is in a network of our own, %s: hosts there can be isolated, not blocked", text(target), p), nil
		case p.Contains(target.Addr()):
			inside = true
		}
	}
	if kind == Isolate && !inside {
		return fmt.Sprintf("%s is in no network of our own: it can be blocked, not isolated", text(target)), nil
	}
	for _, p := range r.cfg.Protected {
		if plain(p).Overlaps(target) {
			return fmt.Sprintf("%s is protected by respond.protected, %s", text(target), p), nil
		}
	}
	own, err := r.own(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range own {
		if p.prefix.Overlaps(target) {
			return fmt.Sprintf("%s is %s", text(target), p.what), nil
		}
	}
	return r.byRole(ctx, target)
}

// byRole looks into the networks that the operator has given roles.
func (r *Responder) byRole(ctx context.Context, target netip.Prefix) (string, error) {
	roles := make([]string, len(r.cfg.Roles))
	for i, role := range r.cfg.Roles {
		roles[i] = strings.ToLower(role)
	}
	rows, err := r.store.conn.Query(ctx, rolesSQL, clickhouse.Named("roles", roles))
	if err != nil {
		return "", fmt.Errorf("read networks: %w", err)
	}
	defer rows.Close()
	why := ""
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return "", fmt.Errorf("read networks: %w", err)
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return "", fmt.Errorf("read networks: %w", err)
		}
		if plain(p).Overlaps(target) {
			why = fmt.Sprintf("%s is protected by the role of the network %s", target, p)
		}
	}
	return why, rows.Err()
}

// owned is an address that the pipeline itself needs.
type owned struct {
	prefix netip.Prefix
	what   string
}

// ownAddresses are those of this machine, of its gateways and resolvers, and of
// the servers that it needs, as they are now.
func ownAddresses(ctx context.Context, servers []string) ([]owned, error) {
	var list []owned
	add := func(a netip.Addr, what string) {
		a = a.Unmap().WithZone("")
		list = append(list, owned{netip.PrefixFrom(a, a.BitLen()), what})
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read own addresses: %w", err)
	}
	for _, i := range interfaces {
		if n, ok := i.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				add(a, "an address of the analyzer itself")
			}
		}
	}
	for _, s := range servers {
		host, _, err := net.SplitHostPort(s)
		if err != nil {
			host = s
		}
		addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("resolve own server: %w", err)
		}
		for _, a := range addresses {
			add(a, "a server that the analyzer needs")
		}
	}
	// Where there are no such files, there is nothing to be known of it.
	lines("/proc/net/route", func(f []string) {
		if len(f) > 2 && f[1] == "00000000" {
			if b, err := hex.DecodeString(f[2]); err == nil && len(b) == 4 {
				add(netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), "the default gateway")
			}
		}
	})
	lines("/proc/net/ipv6_route", func(f []string) {
		if len(f) > 4 && f[1] == "00" {
			if b, err := hex.DecodeString(f[4]); err == nil && len(b) == 16 {
				if a := netip.AddrFrom16([16]byte(b)); !a.IsUnspecified() {
					add(a, "the default gateway")
				}
			}
		}
	})
	lines("/etc/resolv.conf", func(f []string) {
		if len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				add(a, "a resolver of the analyzer")
			}
		}
	})
	return list, nil
}

func lines(path string, f func(fields []string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f(strings.Fields(s.Text()))
	}
}

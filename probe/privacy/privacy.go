// Package privacy takes out of flow records what must not leave the probe: addresses are replaced by Crypto-PAn, which keeps prefixes;
// names, users and hardware addresses by keyed pseudonyms, or dropped; and in the payload-free mode every field that quotes payload
// is emptied.
//
// In comes a flow.Record as it was observed. Out goes, from Filter.Record, a copy that may leave the process; the Filter owns it, and it is
// valid until the next call. The record itself is not changed, because the flow it tells of goes on with it. The same key gives the same
// pseudonyms, on every probe and after every restart. What is done to each field stands in one table, fields.go. A Filter belongs to
// one goroutine.
//
// # Addresses
//
// Crypto-PAn (Xu, Fan, Ammar, Moon: Prefix-Preserving IP Address Anonymization, ICNP 2002; RFC 6235, section 4.1.1.2) turns two addresses
// that have exactly k leading bits in common into two that have exactly k in common. Where all addresses are replaced this is the published
// scheme, bit for bit, so other tools can read it with the same key.
//
// Where only some are replaced, an address that is not chosen stays as it is. To keep the whole collision-free, a chosen network is mapped
// onto itself: its own prefix stays, the bits behind it are replaced. So no pseudonym can be taken for the true address of somebody
// else, the prefix property holds between chosen and others too, and no two addresses become one. The price: the prefix of a chosen
// network is visible (it stands in the configuration), and with `outside` an address shows how many leading bits it shares with the
// nearest network that is kept, and the bit after them. An IPv6 address that is not chosen but carries a chosen IPv4 address (NAT64,
// 6to4, Teredo, ISATAP), or the hardware address of a host (EUI-64), or the end of another address (solicited-node multicast), has that
// part replaced. The hardware address needs a key for that: with macs: drop and no key it stays in such an IPv6 address.
//
// # What remains
//
// Sizes, times, ports, fingerprints of software (JA3, JA4, HASSH) and the traffic's shape stay: somebody who sees the traffic elsewhere
// can recognise flows by them. A pseudonym tells how often and when, and who can make a probe see traffic of his choice can learn
// pseudonyms, one at a time (for Crypto-PAn: a bit of many at a time). In banners and user agents, addresses, domain names, e-mail addresses
// and the names known from the same flow are replaced; a name nobody can recognise as such goes with payload_free only.
package privacy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// Values of Config.Addresses.
const (
	AddressesKeep    = "keep"
	AddressesAll     = "all"
	AddressesWithin  = "within"
	AddressesOutside = "outside"
)

// Values of Config.MACs, Names and Users.
const (
	Keep           = "keep"
	Hash           = "hash"
	HashKeepVendor = "hash_keep_vendor" // MACs only: the first three octets stay
	Drop           = "drop"
)

// Config says what must not leave the process. The zero value is DefaultConfig's: nothing is taken out.
type Config struct {
	KeyFile     string         `conf:"key_file" help:"file of 32 octets, raw or in hex, mode 0600; the same key gives the same pseudonyms"`
	Addresses   string         `conf:"addresses" help:"IP addresses: keep, or replace (Crypto-PAn) all, those within or those outside of networks"`
	Networks    []netip.Prefix `conf:"networks" help:"the networks for addresses: within or outside; such a network's prefix stays visible"`
	MACs        string         `conf:"macs" help:"hardware addresses: keep, hash, hash_keep_vendor or drop"`
	Names       string         `conf:"names" help:"server, DNS, host and certificate names, URIs: keep, hash or drop"`
	Users       string         `conf:"users" help:"user names of all protocols: keep, hash or drop"`
	PayloadFree bool           `conf:"payload_free" help:"drop every field that quotes payload: names, users, URIs, requests, banners"`
}

// DefaultConfig takes nothing out.
func DefaultConfig() Config {
	return Config{Addresses: AddressesKeep, MACs: Keep, Names: Keep, Users: Keep}
}

// Enabled says whether anything is taken out.
func (c Config) Enabled() bool {
	return c.replacesAddresses() || hides(c.MACs) || hides(c.Names) || hides(c.Users) || c.PayloadFree
}

func (c Config) replacesAddresses() bool { return c.Addresses != "" && c.Addresses != AddressesKeep }

// hides says whether a class is not kept.
func hides(mode string) bool { return mode != "" && mode != Keep }

// needsKey says whether anything is done that depends on the key.
func (c Config) needsKey() bool {
	return c.replacesAddresses() || c.MACs == Hash || c.MACs == HashKeepVendor || c.Names == Hash || c.Users == Hash
}

// Longest prefixes of a chosen network: behind it must be room to hide a host in.
const (
	longest4    = 28
	longest6    = 120
	maxNetworks = 1024
)

// Check says what is wrong with c without opening the key.
func (c Config) Check() error {
	for _, m := range []struct {
		key, value string
		known      []string
	}{
		{"addresses", c.Addresses, []string{AddressesKeep, AddressesAll, AddressesWithin, AddressesOutside}},
		{"macs", c.MACs, []string{Keep, Hash, HashKeepVendor, Drop}},
		{"names", c.Names, []string{Keep, Hash, Drop}},
		{"users", c.Users, []string{Keep, Hash, Drop}},
	} {
		if m.value != "" && !slices.Contains(m.known, m.value) {
			return fmt.Errorf("%s: %q is none of %v", m.key, m.value, m.known)
		}
	}
	chosen := c.Addresses == AddressesWithin || c.Addresses == AddressesOutside
	switch {
	case chosen && len(c.Networks) == 0:
		return kit.Hint(fmt.Errorf("networks: none is given for addresses: %s", c.Addresses), "for every address set addresses: all")
	case !chosen && len(c.Networks) > 0:
		return kit.Hint(errors.New("networks: given, but addresses does not say what to do with them"), "set addresses to within or outside")
	case len(c.Networks) > maxNetworks:
		return fmt.Errorf("networks: %d are given, %d are the most", len(c.Networks), maxNetworks)
	case c.KeyFile == "" && c.needsKey():
		return kit.Hint(errors.New("key_file: replacing and hashing need a key"),
			"make one with: (umask 077; head -c 32 /dev/urandom > FILE); or drop instead of hash")
	}
	for _, n := range c.Networks {
		if !n.IsValid() || n.Addr().Is4In6() {
			return fmt.Errorf("networks: %s is not a network", n)
		}
		if n.Addr().Is4() && n.Bits() > longest4 || n.Bits() > longest6 {
			return kit.Hint(fmt.Errorf("networks: %s: its prefix stays visible, and behind or beside it is no room to hide a host", n),
				fmt.Sprintf("give a larger network, at most /%d or, for IPv6, /%d", longest4, longest6))
		}
	}
	return nil
}

// CheckPackets says whether packets may be kept on disk (the packet ring) beside c: they hold what c takes out. With PayloadFree they
// may not; with anything else taken out only when they are encrypted.
func (c Config) CheckPackets(encrypted bool) error {
	switch {
	case c.PayloadFree:
		return kit.Hint(errors.New("packets cannot be kept with privacy.payload_free: they are payload"), "turn one of the two off")
	case c.Enabled() && !encrypted:
		return kit.Hint(errors.New("packets kept on disk hold what privacy takes out of the records"), "encrypt the packet ring, or turn one of the two off")
	}
	return nil
}

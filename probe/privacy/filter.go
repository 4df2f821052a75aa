package privacy

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"net"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/seal"
)

// Entries of each cache; all of a Filter's take about 10 MB when they are full of ordinary names.
const (
	cachedAddresses = 1 << 14
	cachedTexts     = 1 << 13
)

// Filter takes out of records what Config says. A nil Filter takes out nothing.
type Filter struct {
	cfg     Config
	scope   scope
	touches bool  // some address may change
	pan     *pan  // nil: no key
	macs    *macs // nil: hardware addresses are kept, or there is no key
	mac     hash.Hash

	addresses *cache[flow.Addr, flow.Addr]
	hardware  *cache[flow.MAC, flow.MAC]
	texts     [kinds]*cache[string, string]

	rec     flow.Record
	lists   [listFields][]string
	known   []knownName // of the record being done
	own     [2]flow.MAC // its hardware addresses, as they are
	scratch []byte
}

// New makes a Filter, or nil where cfg takes out nothing. It reads the key file; see seal.ReadFile for what that must be.
func New(cfg Config) (*Filter, error) {
	if err := cfg.Check(); err != nil {
		return nil, kit.Hint(fmt.Errorf("privacy.%w", err), kit.HintOf(err))
	}
	if !cfg.Enabled() {
		return nil, nil
	}
	if cfg.KeyFile == "" {
		return newFilter(cfg, nil)
	}
	key, err := seal.ReadFile(cfg.KeyFile)
	if err != nil {
		return nil, kit.Hint(fmt.Errorf("privacy.key_file: %w", err), kit.HintOf(err))
	}
	return newFilter(cfg, &key)
}

func newFilter(cfg Config, key *[seal.KeyBytes]byte) (f *Filter, err error) {
	f = &Filter{cfg: cfg, scope: newScope(&cfg),
		addresses: newCache[flow.Addr, flow.Addr](cachedAddresses), hardware: newCache[flow.MAC, flow.MAC](cachedAddresses)}
	for i := range f.texts {
		f.texts[i] = newCache[string, string](cachedTexts)
	}
	if key == nil {
		return f, nil
	}
	// Crypto-PAn takes the key as it is, as other tools do; the rest takes keys derived from it.
	if f.pan, err = newPAN(key); err != nil {
		return nil, fmt.Errorf("privacy: %w", err)
	}
	if hides(cfg.MACs) {
		if f.macs, err = newMACs(derive(key, "hardware addresses")); err != nil {
			return nil, fmt.Errorf("privacy: %w", err)
		}
	}
	f.mac = hmac.New(sha256.New, derive(key, "names"))
	f.touches = cfg.replacesAddresses() || f.macs != nil
	return f, nil
}

func derive(key *[seal.KeyBytes]byte, purpose string) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("tapwatch privacy v1 " + purpose))
	return h.Sum(nil)
}

// Record returns r as it may leave the process: a copy that is the Filter's and valid until the next call. r is not changed; a nil Filter
// returns r itself.
func (f *Filter) Record(r *flow.Record) *flow.Record {
	if f == nil {
		return r
	}
	f.rec = *r
	for i, list := range listsOf(&f.rec) {
		f.lists[i] = append(f.lists[i][:0], *list...)
		*list = f.lists[i]
	}
	f.Apply(&f.rec)
	return &f.rec
}

// Apply changes r in place. Only for a record that nobody goes on with: a flow keeps its record for its next segment, so use Record for
// what the flow table emits.
func (f *Filter) Apply(r *flow.Record) {
	if f == nil {
		return
	}
	f.learn(r)
	for i := range fields {
		fields[i].apply(f, r)
	}
}

// Address returns the pseudonym of an address.
func (f *Filter) Address(a netip.Addr) netip.Addr {
	if f == nil {
		return a
	}
	return f.address(flow.AddrFrom(a)).Netip()
}

// Reveal is the reverse of Address, for those who may: it needs the Config and the key that the pseudonym was made with.
func (f *Filter) Reveal(a netip.Addr) netip.Addr {
	if f == nil || !f.touches {
		return a
	}
	return f.translate(flow.AddrFrom(a), true).Netip()
}

// RevealMAC is the reverse of what hash and hash_keep_vendor do to a hardware address.
func (f *Filter) RevealMAC(m flow.MAC) flow.MAC {
	if f == nil || f.macs == nil || f.cfg.MACs == Drop {
		return m
	}
	return f.macs.translate(m, f.cfg.MACs == HashKeepVendor, true)
}

// RevealText is Reveal and RevealMAC for what somebody typed.
func (f *Filter) RevealText(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return f.Reveal(a).String(), nil
	}
	if m, err := net.ParseMAC(s); err == nil && len(m) == 6 {
		return f.RevealMAC(flow.MACFrom(m)).String(), nil
	}
	return "", kit.Hint(fmt.Errorf("reveal %q: not an IP address and not a MAC address", s), "names and users are hashed: only a guess can be tried")
}

// hardwareAddress returns the pseudonym of a MAC.
func (f *Filter) hardwareAddress(m flow.MAC) flow.MAC {
	switch {
	case !hides(f.cfg.MACs):
		return m
	case f.cfg.MACs == Drop:
		return 0
	}
	if p, ok := f.hardware.get(m); ok {
		return p
	}
	p := f.macs.translate(m, f.cfg.MACs == HashKeepVendor, false)
	f.hardware.put(m, p)
	return p
}

package privacy

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

func nets(s ...string) (n []netip.Prefix) {
	for _, p := range s {
		n = append(n, netip.MustParsePrefix(p))
	}
	return n
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string // "": right
	}{
		{Config{}, ""},
		{DefaultConfig(), ""},
		{Config{PayloadFree: true, Names: Drop, MACs: Drop}, ""},
		{Config{KeyFile: "k", Addresses: AddressesAll, MACs: HashKeepVendor}, ""},
		{Config{KeyFile: "k", Addresses: AddressesWithin, Networks: nets("10.0.0.0/8", "2001:db8::/120")}, ""},
		{Config{Addresses: "some"}, `addresses: "some" is none of`},
		{Config{MACs: "hide"}, `macs: "hide"`},
		{Config{Names: HashKeepVendor}, `names: "hash_keep_vendor"`},
		{Config{Users: "x"}, `users: "x"`},
		{Config{KeyFile: "k", Addresses: AddressesOutside}, "networks: none is given"},
		{Config{KeyFile: "k", Addresses: AddressesAll, Networks: nets("10.0.0.0/8")}, "networks: given, but"},
		{Config{KeyFile: "k", Addresses: AddressesWithin, Networks: nets("192.0.2.7/32")}, "no room to hide"},
		{Config{KeyFile: "k", Addresses: AddressesOutside, Networks: nets("2001:db8::7/128")}, "no room to hide"},
		{Config{KeyFile: "k", Addresses: AddressesWithin, Networks: []netip.Prefix{{}}}, "not a network"},
		{Config{Addresses: AddressesAll}, "key_file: "},
		{Config{Names: Hash}, "key_file: "},
		{Config{Users: Hash}, "key_file: "},
		{Config{MACs: Hash}, "key_file: "},
	} {
		err := c.cfg.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
}

func TestNew(t *testing.T) {
	if f, err := New(DefaultConfig()); f != nil || err != nil {
		t.Errorf("nothing to do: %v, %v", f, err)
	}
	path := filepath.Join(t.TempDir(), "key")
	cfg := Config{KeyFile: path, Addresses: AddressesAll}
	if _, err := New(cfg); err == nil || kit.HintOf(err) == "" || !strings.HasPrefix(err.Error(), "privacy.key_file: ") {
		t.Errorf("no key file: %v", err)
	}
	for _, content := range []string{sampleKey + "\n", string(unhex(t, sampleKey))} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Address(netip.MustParseAddr("24.5.0.80")).String(); got != "100.9.15.210" {
			t.Errorf("with the key from a file: %s", got)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); err == nil || kit.HintOf(err) == "" {
		t.Errorf("key file that all can read: %v", err)
	}
	if f, err := New(Config{MACs: Drop}); err != nil || f.Record(&flow.Record{SrcMAC: 7}).SrcMAC != 0 {
		t.Errorf("drop without a key: %v", err)
	}
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCheckPackets(t *testing.T) {
	for _, c := range []struct {
		cfg              Config
		plain, encrypted bool
	}{
		{DefaultConfig(), true, true}, {Config{PayloadFree: true}, false, false}, {Config{Names: Drop}, false, true}, {Config{Addresses: AddressesAll}, false, true},
	} {
		if plain, encrypted := c.cfg.CheckPackets(false) == nil, c.cfg.CheckPackets(true) == nil; plain != c.plain || encrypted != c.encrypted {
			t.Errorf("%+v: plain %v, encrypted %v", c.cfg, plain, encrypted)
		}
	}
}

// What is not chosen stays, what is chosen stays in its network, and no address of a small network is shared by two.
func TestChosenNetworks(t *testing.T) {
	within := testFilter(t, sampleKey, Config{Addresses: AddressesWithin, Networks: nets("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/48")})
	outside := testFilter(t, sampleKey, Config{Addresses: AddressesOutside, Networks: nets("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/48")})
	for _, n := range nets("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/48") {
		moved := 0
		for a := n.Addr(); moved < 200; a = a.Next() {
			if p := within.Address(a); !n.Contains(p) {
				t.Fatalf("%s became %s, out of %s", a, p, n)
			}
			if p := outside.Address(a); p != a {
				t.Fatalf("%s became %s", a, p)
			}
			moved++
		}
	}
	seen := map[netip.Addr]bool{}
	for a := netip.MustParseAddr("192.0.2.0"); netip.MustParsePrefix("192.0.2.0/24").Contains(a); a = a.Next() {
		seen[within.Address(a)] = true
	}
	if len(seen) != 256 {
		t.Errorf("256 hosts have %d pseudonyms", len(seen))
	}
	for _, s := range []string{"11.0.0.1", "8.8.8.8", "2001:db9::1", "0.0.0.1", "::"} {
		a := netip.MustParseAddr(s)
		if p := within.Address(a); p != a {
			t.Errorf("%s became %s", a, p)
		}
		p := outside.Address(a)
		if p == a && s != "::" {
			t.Errorf("%s stayed", a)
		}
		for _, n := range nets("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/48") {
			if n.Contains(p) {
				t.Errorf("%s became %s, one of those that are kept", a, p)
			}
		}
	}
	if within.Record(&flow.Record{}).OuterSrcIP != (flow.Addr{}) {
		t.Error("an address that is unset was set")
	}
}

// IPv6 addresses that are not chosen do not tell of what is.
func TestAddressesInAddresses(t *testing.T) {
	f := testFilter(t, sampleKey, Config{Addresses: AddressesWithin, MACs: HashKeepVendor, Networks: nets("10.0.0.0/8", "2001:db8::/32")})
	host := netip.MustParseAddr("10.1.2.3")
	p := f.Address(host).As4()
	q := [4]byte{^p[0], ^p[1], ^p[2], ^p[3]}
	mac := f.hardwareAddress(0x0050c2123456)
	for in, want := range map[string]string{
		"64:ff9b::10.1.2.3":             fmt.Sprintf("64:ff9b::%x:%x", uint16(p[0])<<8|uint16(p[1]), uint16(p[2])<<8|uint16(p[3])),
		"2002:a01:203::1":               fmt.Sprintf("2002:%x:%x::1", uint16(p[0])<<8|uint16(p[1]), uint16(p[2])<<8|uint16(p[3])),
		"2001:0:a01:203:8000:63bf:1:1":  fmt.Sprintf("2001:0:%x:%x:8000:63bf:1:1", uint16(p[0])<<8|uint16(p[1]), uint16(p[2])<<8|uint16(p[3])),
		"2001::8000:63bf:f5fe:fdfc":     fmt.Sprintf("2001::8000:63bf:%x:%x", uint16(q[0])<<8|uint16(q[1]), uint16(q[2])<<8|uint16(q[3])),
		"fe80::5efe:10.1.2.3":           fmt.Sprintf("fe80::5efe:%x:%x", uint16(p[0])<<8|uint16(p[1]), uint16(p[2])<<8|uint16(p[3])),
		"fe80::250:c2ff:fe12:3456":      fmt.Sprintf("fe80::250:c2ff:fe%02x:%x", byte(mac>>16), uint16(mac)),
		"2a00:1::250:c2ff:fe12:3456":    fmt.Sprintf("2a00:1::250:c2ff:fe%02x:%x", byte(mac>>16), uint16(mac)),
		"64:ff9b::11.1.2.3":             "64:ff9b::b01:203",
		"fe80::1":                       "fe80::1",
		"ff02::1":                       "ff02::1",
		"2002:b01:203::1":               "2002:b01:203::1",
		"2a00:1::1234:5678:9abc:def0:1": "2a00:1:0:1234:5678:9abc:def0:1",
	} {
		a, w := netip.MustParseAddr(in), netip.MustParseAddr(want)
		if got := f.Address(a); got != w {
			t.Errorf("%s became %s, want %s", in, got, w)
		} else if back := f.Reveal(got); back != a {
			t.Errorf("%s revealed as %s, want %s", got, back, a)
		}
	}
	node := netip.MustParseAddr("ff02::1:ff12:3456")
	if got := f.Address(node); got == node || !netip.MustParsePrefix("ff02::1:ff00:0/104").Contains(got) || f.Reveal(got) != node {
		t.Errorf("%s became %s", node, got)
	}
}

func TestHardwareAddresses(t *testing.T) {
	for mode, kept := range map[string]flow.MAC{Hash: groupBit | localBit, HashKeepVendor: 0xffffff000000} {
		f := testFilter(t, sampleKey, Config{MACs: mode})
		seen := map[flow.MAC]bool{}
		for i := range flow.MAC(20_000) {
			m := 0x0050c2000000 + i
			p := f.hardwareAddress(m)
			if p&kept != m&kept {
				t.Fatalf("%s: %s became %s", mode, m, p)
			}
			if back := f.RevealMAC(p); back != m {
				t.Fatalf("%s: %s revealed as %s, want %s", mode, p, back, m)
			}
			seen[p] = true
		}
		if len(seen) != 20_000 {
			t.Errorf("%s: 20000 addresses have %d pseudonyms", mode, len(seen))
		}
		if mode == Hash {
			if a, b := f.hardwareAddress(0x0050c2000001), f.hardwareAddress(0x0050c2000002); a>>24 == b>>24 {
				t.Errorf("vendor shows: %s, %s", a, b)
			}
		}
		for _, m := range []flow.MAC{0, broadcast, 0x01005e0000fb, 0x333300000001} {
			if p := f.hardwareAddress(m); p != m {
				t.Errorf("%s: %s became %s", mode, m, p)
			}
		}
		if p := f.hardwareAddress(0x3333ff123456); p == 0x3333ff123456 || p>>24 != 0x3333ff || f.RevealMAC(p) != 0x3333ff123456 {
			t.Errorf("%s: solicited node became %s", mode, p)
		}
	}
}

func TestRevealText(t *testing.T) {
	f := testFilter(t, sampleKey, Config{Addresses: AddressesAll, MACs: Hash})
	mac := f.hardwareAddress(0x0050c2000001).String()
	for in, want := range map[string]string{"100.9.15.210": "24.5.0.80", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e": "2001:db8::1", mac: "00:50:c2:00:00:01"} {
		if got, err := f.RevealText(in); got != want || err != nil {
			t.Errorf("%s revealed as %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "n~abc", "fe80::1%eth0", "1.2.3"} {
		if got, err := f.RevealText(in); err == nil || kit.HintOf(err) == "" {
			t.Errorf("%q revealed as %q", in, got)
		}
	}
}

func TestCacheForgetsTheOldest(t *testing.T) {
	c := newCache[int, int](3)
	for i := range 3 {
		c.put(i, -i)
	}
	if _, ok := c.get(0); !ok { // now 1 is the oldest
		t.Fatal("0 is gone")
	}
	c.put(3, -3)
	for k, want := range map[int]bool{0: true, 1: false, 2: true, 3: true} {
		if v, ok := c.get(k); ok != want || ok && v != -k {
			t.Errorf("get(%d): %d, %v", k, v, ok)
		}
	}
	for i := range 1000 {
		c.put(10+i, i)
	}
	if len(c.places) != 3 || len(c.slots) != 4 {
		t.Errorf("%d places, %d slots", len(c.places), len(c.slots))
	}
}

// The configuration as it is written: YAML, and a list from the environment.
func TestConfigIsRead(t *testing.T) {
	var cfg struct {
		Privacy Config `conf:"privacy"`
	}
	path := filepath.Join(t.TempDir(), "probe.yaml")
	text := "privacy:\n  key_file: /k\n  addresses: within\n  networks: [10.0.0.0/8, \"2001:db8::/32\"]\n  macs: hash_keep_vendor\n  payload_free: true\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Privacy = DefaultConfig()
	if err := config.Load(&cfg, config.Source{File: path}); err != nil {
		t.Fatal(err)
	}
	want := Config{KeyFile: "/k", Addresses: AddressesWithin, Networks: nets("10.0.0.0/8", "2001:db8::/32"), MACs: HashKeepVendor, Names: Keep, Users: Keep, PayloadFree: true}
	if !reflect.DeepEqual(cfg.Privacy, want) || cfg.Privacy.Check() != nil {
		t.Errorf("read (-got +want)\n-%+v\n+%+v", cfg.Privacy, want)
	}
	env := config.Source{EnvPrefix: "P_", Environ: []string{"P_PRIVACY_NETWORKS=192.0.2.0/24,10.0.0.0/8", "P_PRIVACY_NAMES=drop"}}
	if err := config.Load(&cfg, env); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(cfg.Privacy.Networks) != "[192.0.2.0/24 10.0.0.0/8]" || cfg.Privacy.Names != Drop {
		t.Errorf("from the environment: %+v", cfg.Privacy)
	}
	if err := os.WriteFile(path, []byte("privacy:\n  networks: [10.0.0.0/33]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Load(&cfg, config.Source{File: path}); err == nil || !strings.Contains(err.Error(), "privacy.networks") {
		t.Errorf("a network that is none: %v", err)
	}
}

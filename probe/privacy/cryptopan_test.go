package privacy

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Keys of published vectors.
const (
	// sampleKey is that of the sample in Crypto-PAn's own distribution.
	sampleKey = "1522178d33a4cf80130a5b1649907d10d8988f8379796527" + "62574c2d2a842202"
	countKey  = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	otherKey  = "8009ab3a605435bea0c385bea18485d8b0a1103d6590bdf48c968be5de53836e"
)

func testFilter(t testing.TB, key string, cfg Config) *Filter {
	t.Helper()
	b, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	cfg.KeyFile = "given"
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	f, err := newFilter(cfg, (*[32]byte)(b))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The addresses of sample_trace_raw.dat and sample_trace_sanitized.dat of the distribution, and those that other implementations
// (node-cryptopan, Tenzir, cryptopan for Go and Rust) check themselves with.
func TestPublishedVectors(t *testing.T) {
	for key, pairs := range map[string][][2]string{
		sampleKey: {
			{"128.11.68.132", "135.242.180.132"}, {"129.118.74.4", "134.136.186.123"}, {"130.132.252.244", "133.68.164.234"},
			{"141.223.7.43", "141.167.8.160"}, {"141.233.145.108", "141.129.237.235"}, {"152.163.225.39", "151.140.114.167"},
			{"156.29.3.236", "147.225.12.42"}, {"165.247.96.84", "162.9.99.234"}, {"166.107.77.190", "160.132.178.185"},
			{"192.102.249.13", "252.138.62.131"}, {"192.215.32.125", "252.43.47.189"}, {"192.233.80.103", "252.25.108.8"},
			{"192.41.57.43", "252.222.221.184"}, {"193.150.244.223", "253.169.52.216"}, {"195.205.63.100", "255.186.223.5"},
			{"198.200.171.101", "249.199.68.213"}, {"198.26.132.101", "249.36.123.202"}, {"198.36.213.5", "249.7.21.132"},
			{"198.51.77.238", "249.18.186.254"}, {"199.217.79.101", "248.38.184.213"}, {"202.49.198.20", "245.206.7.234"},
			{"203.12.160.252", "244.248.163.4"}, {"204.184.162.189", "243.192.77.90"}, {"204.202.136.230", "243.178.4.198"},
			{"204.29.20.4", "243.33.20.123"}, {"205.178.38.67", "242.108.198.51"}, {"205.188.147.153", "242.96.16.101"},
			{"205.188.248.25", "242.96.88.27"}, {"205.245.121.43", "242.21.121.163"}, {"207.105.49.5", "241.118.205.138"},
			{"207.135.65.238", "241.202.129.222"}, {"207.155.9.214", "241.220.250.22"}, {"207.188.7.45", "241.255.249.220"},
			{"207.25.71.27", "241.33.119.156"}, {"207.33.151.131", "241.1.233.131"}, {"208.147.89.59", "227.237.98.191"},
			{"208.234.120.210", "227.154.67.17"}, {"208.28.185.184", "227.39.94.90"}, {"208.52.56.122", "227.8.63.165"},
			{"209.12.231.7", "226.243.167.8"}, {"209.238.72.3", "226.6.119.243"}, {"209.246.74.109", "226.22.124.76"},
			{"209.68.60.238", "226.184.220.233"}, {"209.85.249.6", "226.170.70.6"}, {"212.120.124.31", "228.135.163.231"},
			{"212.146.8.236", "228.19.4.234"}, {"212.186.227.154", "228.59.98.98"}, {"212.204.172.118", "228.71.195.169"},
			{"212.206.130.201", "228.69.242.193"}, {"216.148.237.145", "235.84.194.111"}, {"216.157.30.252", "235.89.31.26"},
			{"216.184.159.48", "235.96.225.78"}, {"216.227.10.221", "235.28.253.36"}, {"216.254.18.172", "235.7.16.162"},
			{"216.32.132.250", "235.192.139.38"}, {"216.35.217.178", "235.195.157.81"}, {"24.0.250.221", "100.15.198.226"},
			{"24.13.62.231", "100.2.192.247"}, {"24.14.213.138", "100.1.42.141"}, {"24.5.0.80", "100.9.15.210"},
			{"24.7.198.88", "100.10.6.25"}, {"24.94.26.44", "100.88.228.35"}, {"38.15.67.68", "64.3.66.187"},
			{"4.3.88.225", "124.60.155.63"}, {"63.14.55.111", "95.9.215.7"}, {"63.195.241.44", "95.179.238.44"},
			{"63.97.7.140", "95.97.9.123"}, {"64.14.118.196", "0.255.183.58"}, {"64.34.154.117", "0.221.154.117"},
			{"64.39.15.238", "0.219.7.41"}, {"10.185.25.118", "117.161.29.118"},
			{"0.0.0.0", "120.255.240.1"}, {"10.0.1.128", "117.15.1.129"}, {"127.0.0.1", "33.0.243.129"},
			{"255.255.255.255", "206.120.97.255"},
			{"::1", "78ff:f001:9fc0:20df:8380:b1f1:704:ed"}, {"::2", "78ff:f001:9fc0:20df:8380:b1f1:704:ef"},
			{"::ffff", "78ff:f001:9fc0:20df:8380:b1f1:704:f838"},
			{"2001:db8::1", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e"}, {"2001:db8::2", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1c"},
		},
		countKey: {
			{"192.0.2.1", "2.90.93.17"}, {"0.0.0.0", "254.152.65.220"}, {"10.0.1.128", "246.35.190.47"}, {"255.255.255.255", "56.0.15.254"},
			{"2001:db8::1", "dd92:2c44:3fc0:ff1e:7ff9:c7f0:8180:7e00"},
		},
		otherKey: {
			{"8.8.8.8", "55.21.62.136"}, {"131.159.1.42", "162.112.255.43"},
			{"2a02:db8:85a3::8a2e:370:7344", "1482:f447:75b3:f1f9:fbdf:622e:34f:ff7b"},
			{"2001:b8:a3::2e:70:44", "1f18:b37b:1cc3:8118:41f:9fd1:f875:fab8"}, {"fc00::", "f33c:8ca3:ef0f:e019:e7ff:f1e3:f91f:f800"},
		},
	} {
		all := testFilter(t, key, Config{Addresses: AddressesAll})
		whole := testFilter(t, key, Config{Addresses: AddressesWithin,
			Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
		for _, p := range pairs {
			a, want := netip.MustParseAddr(p[0]), netip.MustParseAddr(p[1])
			for _, f := range []*Filter{all, whole} {
				if got := f.Address(a); got != want {
					t.Errorf("key %.4s…: %s became %s, want %s", key, a, got, want)
				}
				if got := f.Reveal(want); got != a {
					t.Errorf("key %.4s…: %s revealed as %s, want %s", key, want, got, a)
				}
			}
		}
	}
}

func common(a, b *flow.Addr) int { return commonBits(netip.AddrFrom16(*a), netip.AddrFrom16(*b)) }

// A million pairs with every number of leading bits in common, under each way to choose: the pseudonyms have exactly as many. So no two are
// one, and those of chosen addresses cannot be taken for others.
func TestPrefixProperty(t *testing.T) {
	nets := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.7.0.0/16"), netip.MustParsePrefix("192.0.2.0/25"),
		netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fe80::/10")}
	modes := []*Filter{testFilter(t, sampleKey, Config{Addresses: AddressesAll}),
		testFilter(t, sampleKey, Config{Addresses: AddressesWithin, Networks: nets}),
		testFilter(t, sampleKey, Config{Addresses: AddressesOutside, Networks: nets})}
	pairs := 1_000_000
	if testing.Short() {
		pairs = 100_000
	}
	r := rand.New(rand.NewPCG(7, 11))
	for n := range pairs {
		f := modes[n%len(modes)]
		four := n%8 != 0
		a := randomAddr(r, four, nets)
		k := r.IntN(128)
		if four {
			k = 96 + r.IntN(32)
		}
		b := a // shares exactly k bits with a
		for i := k; i < 128; i++ {
			b[i/8] ^= byte(r.IntN(2)) << (7 - i%8)
		}
		b[k/8] = b[k/8]&^(0x80>>(k%8)) | ^a[k/8]&(0x80>>(k%8))
		if !four && (a.Is4() || b.Is4() || a == flow.Addr{} || b == flow.Addr{}) {
			continue
		}
		p, q := f.translate(a, false), f.translate(b, false)
		if got := common(&p, &q); got != k {
			t.Fatalf("%s and %s share %d bits, their pseudonyms %s and %s share %d (%s)", a, b, k, p, q, got, f.cfg.Addresses)
		}
		if n%16 == 0 {
			if back := f.translate(p, true); back != a {
				t.Fatalf("%s became %s, revealed as %s (%s)", a, p, back, f.cfg.Addresses)
			}
		}
	}
}

func randomAddr(r *rand.Rand, four bool, nets []netip.Prefix) (a flow.Addr) {
	for i := range a {
		a[i] = byte(r.Uint32())
	}
	if four {
		copy(a[:], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})
	}
	if n := nets[r.IntN(len(nets))]; r.IntN(2) == 0 && n.Addr().Is4() == four { // half of them in or near a network
		p := n.Addr().As16()
		for i := range n.Bits() + 128 - n.Addr().BitLen() {
			bit := byte(0x80) >> (i % 8)
			a[i/8] = a[i/8]&^bit | p[i/8]&bit
		}
	}
	return a
}

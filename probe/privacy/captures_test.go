package privacy

import (
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// captureFiles are the captures of up to limit bytes.
func captureFiles(t testing.TB, limit int64) (files []string) {
	t.Helper()
	err := filepath.WalkDir(corpus.Dir(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := filepath.Ext(path); ext == ".pcap" || ext == ".pcapng" || ext == ".cap" {
			if i, err := d.Info(); err == nil && i.Size() <= limit {
				files = append(files, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// readCapture gives the flow records of a capture to emit; a long flow is cut often, so that it has several.
func readCapture(t testing.TB, path string, emit func(*flow.Record)) {
	t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		return // one that is not for this test
	}
	defer src.Close()
	cfg := meter.DefaultConfig()
	cfg.ActiveTimeout = 500 * time.Millisecond
	dec := decode.New(decode.DefaultConfig())
	table := meter.New(cfg, dpi.NewInspector(dpi.DefaultConfig()), emit)
	var f capture.Frame
	var p decode.Packet
	for src.Next(&f) == nil {
		if dec.Decode(&f, &p) == decode.OK {
			table.Observe(&p)
		}
	}
	table.Flush(flow.EndForced)
}

// secrets are what must not be found in the records of a capture.
type secrets struct {
	addresses map[netip.Addr]bool
	names     map[string]bool
	macs      map[string]bool
	words     map[string]bool // of ours, which names may happen to be
}

func (s *secrets) gather(r *flow.Record) {
	for _, a := range []flow.Addr{r.SrcIP, r.DstIP, r.OuterSrcIP, r.OuterDstIP} {
		if a != (flow.Addr{}) {
			s.addresses[a.Netip()] = true
		}
	}
	for _, m := range []flow.MAC{r.SrcMAC, r.DstMAC} {
		if m != 0 && m&groupBit == 0 {
			s.macs[m.String()] = true
		}
	}
	s.words[r.App], s.words[r.Service] = true, true
	for _, n := range slices.Concat(r.DNSNames, r.DNSAnswers, r.CertNames, []string{r.TLSSNI, r.HTTPHost, r.Domain, r.User, r.AppHost, r.CertSubject}) {
		if a, err := netip.ParseAddr(n); err == nil {
			s.addresses[a.Unmap().WithZone("")] = true
		} else if a, err := netip.ParseAddrPort(n); err == nil {
			s.addresses[a.Addr().Unmap().WithZone("")] = true
		} else if len(n) > 4 && !isReverse(n) && !(strings.HasPrefix(n, "TYPE") && decimal(n[4:])) {
			s.names[strings.ToLower(n)] = true
		}
	}
	for _, u := range append([]string{r.HTTPURI}, r.HTTPRequests...) {
		if _, path, ok := strings.Cut(u, "/"); ok && len(path) > 4 && path != r.HTTPContentType {
			s.names[strings.ToLower(path)] = true
		}
	}
}

// hasWord says whether text has the word, with no letter, digit or dot on either side.
func hasWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		j := i + len(word)
		if (i == 0 || !inNumber(text[i-1])) && (j == len(text) || !inNumber(text[j]) || text[j] == '.') {
			return true
		}
		from = i + 1
	}
}

func inNumber(c byte) bool { return alphanumeric(rune(c)) || c == ':' || c == '_' }

// Real captures through the filter: no address, name, user, URI or hardware address that was in the records is in what comes out. And the
// segments of a flow agree.
func TestNothingLeavesTheProbe(t *testing.T) {
	total, found, addresses, names := 0, 0, 0, 0
	files := captureFiles(t, 400<<10)
	if testing.Short() {
		files = files[:len(files)/4]
	}
	filters := map[string]*Filter{
		"all":       testFilter(t, otherKey, Config{Addresses: AddressesAll, MACs: Hash, Names: Hash, Users: Hash}),
		"addresses": testFilter(t, otherKey, Config{Addresses: AddressesAll, MACs: Hash}),
		"payload":   testFilter(t, otherKey, Config{Addresses: AddressesAll, MACs: Drop, PayloadFree: true}),
	}
	for _, path := range files {
		s := secrets{map[netip.Addr]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
		out := map[string]*strings.Builder{"all": {}, "addresses": {}, "payload": {}}
		sni := map[uint64]string{}
		readCapture(t, path, func(r *flow.Record) {
			r.Interface = ""
			s.gather(r)
			for mode, f := range filters {
				p := f.Record(r)
				out[mode].Write(append(p.AppendJSON(nil), '\n'))
				if mode == "all" && r.TLSSNI != "" {
					if old, ok := sni[r.FlowID]; ok && old != p.TLSSNI {
						t.Errorf("%s: flow %d: server %s in one segment and %s in another", path, r.FlowID, old, p.TLSSNI)
					}
					sni[r.FlowID] = p.TLSSNI
				}
			}
			total++
		})
		// A pseudonym may be the address of another host of the capture.
		pseudonyms := map[netip.Addr]bool{}
		for a := range s.addresses {
			pseudonyms[filters["all"].Address(a)] = true
		}
		for mode, b := range out {
			text := strings.ToLower(b.String())
			check := func(what, word string) {
				if hasWord(text, word) {
					found++
					if found < 20 {
						i := strings.Index(text, word)
						t.Errorf("%s, %s: %s %s is still there: …%s…", strings.TrimPrefix(path, corpus.Dir(t)), mode, what, word, text[max(0, i-60):min(len(text), i+60)])
					}
				}
			}
			for a := range s.addresses {
				if !pseudonyms[a] && a != netip.IPv6Unspecified() {
					check("address", a.String())
					if a.Is4() {
						o := a.As4()
						check("reversed address", netip.AddrFrom4([4]byte{o[3], o[2], o[1], o[0]}).String()+".in-addr")
					}
				}
			}
			for m := range s.macs {
				check("hardware address", m)
			}
			if mode != "addresses" {
				for n := range s.names {
					if s.words[n] {
						continue
					}
					check("name", strings.Trim(quoted(n), `"`))
				}
			}
		}
		addresses += len(s.addresses)
		names += len(s.names)
	}
	if total < 100 || addresses < 100 || names < 100 {
		t.Errorf("only %d records, %d addresses, %d names", total, addresses, names)
	}
	t.Logf("%d captures, %d records, %d addresses, %d names and URIs: %d found again", len(files), total, addresses, names, found)
}

// quoted is how s stands in JSON.
func quoted(s string) string {
	line := string((&flow.Record{User: s}).AppendJSON(nil))
	_, line, _ = strings.Cut(line, `"user":`)
	line, _, _ = strings.Cut(line, `,"domain"`)
	return line
}

func BenchmarkRecord(b *testing.B) {
	var records []flow.Record
	for _, path := range captureFiles(b, 400<<10) {
		readCapture(b, path, func(r *flow.Record) {
			records = append(records, r.Clone())
		})
	}
	for name, cfg := range map[string]Config{
		"addresses": {Addresses: AddressesAll}, "hash": {Addresses: AddressesAll, MACs: Hash, Names: Hash, Users: Hash},
		"payload": {Addresses: AddressesAll, MACs: Drop, PayloadFree: true},
	} {
		b.Run(name, func(b *testing.B) {
			f := testFilter(b, otherKey, cfg)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				f.Record(&records[i%len(records)])
				i++
			}
		})
	}
}

// BenchmarkAddress is the cost of an address that was not seen before.
func BenchmarkAddress(b *testing.B) {
	f := testFilter(b, otherKey, Config{Addresses: AddressesAll})
	for name, a := range map[string]flow.Addr{"ipv4": flow.AddrFrom(netip.MustParseAddr("192.0.2.1")), "ipv6": flow.AddrFrom(netip.MustParseAddr("2001:db8::1"))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.translate(a, false)
			}
		})
	}
}

// BenchmarkHostileText is a record whose texts are made to be slow to search.
func BenchmarkHostileText(b *testing.B) {
	for name, unit := range map[string]string{"colons": "a:", "doubles": "::", "octets": "1.", "hyphens": "a-", "escapes": "%31", "mixed": "1:2-3.4_"} {
		b.Run(name, func(b *testing.B) {
			f := testFilter(b, otherKey, Config{Addresses: AddressesWithin, Networks: nets("10.0.0.0/8"), MACs: Hash, Users: Hash})
			s := strings.Repeat(unit, flow.MaxString/len(unit))
			for b.Loop() {
				f.text(s)
			}
		})
	}
}

// BenchmarkName is the cost of a name that was not seen before.
func BenchmarkName(b *testing.B) {
	f := testFilter(b, otherKey, Config{Names: Hash})
	names := make([]string, 4*cachedTexts)
	for i := range names {
		names[i] = "host" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + time.Duration(i).String() + ".example.org"
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f.name(names[i%len(names)])
		i++
	}
}

package dpi

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"unicode"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Services names what stands above the protocol: the product behind a server's
// name or address. It does not change once it is loaded, and may be shared.
type Services struct {
	domains  map[string]string // lower case, without dots at either end
	prefixes map[netip.Prefix]string
	lengths  []int // of the prefixes, IPv4 as in IPv6, longest first
}

//go:embed services.tsv
var ownServices string

// LoadServices reads the list that comes with Tapwatch and then the files at
// paths, whose lines add to it and replace it. A line is a domain, which stands
// for itself and all below it, or an address or prefix; a tab or spaces; and
// the name of the service. '#' begins a comment, and "-" as the name takes a
// line of an earlier list away. Errors name the file and the line.
func LoadServices(paths ...string) (*Services, error) {
	s := &Services{domains: make(map[string]string), prefixes: make(map[netip.Prefix]string)}
	if err := s.read("services.tsv", strings.NewReader(ownServices)); err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := s.load(path); err != nil {
			return nil, err
		}
	}
	seen := make(map[int]bool)
	for p := range s.prefixes {
		seen[p.Bits()] = true
	}
	for bits := 128; bits >= 0; bits-- {
		if seen[bits] {
			s.lengths = append(s.lengths, bits)
		}
	}
	return s, nil
}

func (s *Services) load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open services: %w", err)
	}
	defer f.Close()
	return s.read(path, f)
}

func (s *Services) read(name string, r io.Reader) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 {
			return fmt.Errorf("read services %s line %d: %q: a domain or prefix and a service are needed", name, n, text)
		}
		if strings.ContainsFunc(words[1], func(c rune) bool { return c > unicode.MaxASCII || unicode.IsControl(c) }) || len(words[1]) > 64 {
			return fmt.Errorf("read services %s line %d: %q is no name for a service", name, n, words[1])
		}
		if err := s.add(words[0], words[1]); err != nil {
			return fmt.Errorf("read services %s line %d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read services %s: %w", name, err)
	}
	return nil
}

func (s *Services) add(what, service string) error {
	p, err := netip.ParsePrefix(what)
	if a, errA := netip.ParseAddr(what); errA == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err == nil {
		if p.Addr().Is4() {
			p = netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), p.Bits()+96)
		}
		p = p.Masked()
		if service == "-" {
			delete(s.prefixes, p)
		} else {
			s.prefixes[p] = service
		}
		return nil
	}
	domain := strings.ToLower(strings.Trim(strings.TrimPrefix(what, "*"), "."))
	if domain == "" || strings.ContainsAny(domain, "/*:") {
		return fmt.Errorf("%q is neither a domain nor a prefix", what)
	}
	if service == "-" {
		delete(s.domains, domain)
	} else {
		s.domains[domain] = service
	}
	return nil
}

// ByName returns the service of a host name by the longest domain that is
// listed; "" is none.
func (s *Services) ByName(name string) string {
	if s == nil || len(name) == 0 || len(name) > 255 {
		return ""
	}
	name = strings.TrimSuffix(name, ".")
	for i := range len(name) {
		if c := name[i]; c >= 'A' && c <= 'Z' {
			name = strings.ToLower(name)
			break
		}
	}
	for {
		if service, ok := s.domains[name]; ok {
			return service
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			return ""
		}
		name = name[dot+1:]
	}
}

// ByAddr returns the service of an address by the longest prefix that is
// listed; "" is none.
func (s *Services) ByAddr(a flow.Addr) string {
	if s == nil {
		return ""
	}
	for _, bits := range s.lengths {
		if p, err := netip.AddrFrom16(a).Prefix(bits); err == nil {
			if service, ok := s.prefixes[p]; ok {
				return service
			}
		}
	}
	return ""
}

// SetServices replaces the list for the flows that follow. nil: no services.
func (in *Inspector) SetServices(s *Services) { in.services = s }

// named looks a server's name up and judges it. It is called with the first
// name of a record.
func (in *Inspector) named(name string, rec *flow.Record) {
	name = hostOnly(name)
	rec.Risks |= nameRisks(name)
	in.serviceOf(name, rec)
}

func (in *Inspector) serviceOf(name string, rec *flow.Record) {
	if service := in.services.ByName(name); service != "" {
		rec.Service = service
	}
}

// hostOnly cuts a port off.
func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > 0 && digits([]byte(host[i+1:])) && strings.Count(host, ":") == 1 {
		return host[:i]
	}
	return host
}

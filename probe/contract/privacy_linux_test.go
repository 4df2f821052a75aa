package contract

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// personal is what captures say of people: addresses, names, users, cards.
type personal struct {
	addresses map[netip.Addr]bool
	words     map[string]bool
}

// of gathers it from the records of a probe that hides nothing.
func (s *personal) of(r *flow.Record) {
	for _, a := range []flow.Addr{r.SrcIP, r.DstIP, r.OuterSrcIP, r.OuterDstIP} {
		if n := a.Netip(); n.IsValid() && !n.IsUnspecified() && !n.IsMulticast() && n != netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			s.addresses[n] = true
		}
	}
	for _, m := range []flow.MAC{r.SrcMAC, r.DstMAC} {
		if m != 0 && m>>40&1 == 0 {
			s.words[m.String()] = true
		}
	}
	for _, n := range slices.Concat(r.DNSNames, []string{r.TLSSNI, r.HTTPHost, r.Domain, r.User, r.AppHost}) {
		if _, err := netip.ParseAddr(n); err == nil || len(n) < 5 || !strings.ContainsAny(n, ".@ -_") && r.User != n || strings.HasSuffix(n, ".arpa") {
			continue // addresses are addresses; short words and those without a dot may be words of protocols
		}
		s.words[strings.ToLower(n)] = true
	}
}

// TestNothingPersonalLeaves is S12 for the whole process: real captures with
// names, users and addresses go through the service with privacy on; neither the
// batches in its spool, nor its log, nor its metrics hold any of them.
func TestNothingPersonalLeaves(t *testing.T) {
	var paths []string
	for _, p := range []string{"zeek/ftp/ipv4.pcap", "zeek/smtp.pcap", "zeek/krb/kinit.pcap", "zeek/sip/wireshark.pcap", "zeek/wikipedia.pcap", "zeek/ldap/simpleauth.pcap",
		"zeek/smb/smb2.pcap", "zeek/radius/radius.pcap", "zeek/http/get.pcap", "zeek/tunnels/Teredo.pcap", "zeek/dns53.pcap", "zeek/tls/tls-conn-with-extensions.pcap",
		"ndpi/quic_0RTT.pcap", "zeek/mysql/auth.pcap", "zeek/pppoe.pcap", "suricata-verify/krb5-kerberoasting/kerberoast.pcap"} {
		if p = filepath.Join(corpus.Dir(t), p); fileExists(p) {
			paths = append(paths, p)
		}
	}
	if len(paths) < 10 {
		t.Fatalf("%d captures", len(paths))
	}
	known := personal{map[netip.Addr]bool{}, map[string]bool{}}
	plain := 0
	o := flowsProcess(t, job{Files: paths, Format: probe.FormatBatch}, nil, records(func(r *flow.Record) {
		known.of(r)
		plain++
	}))
	if len(known.addresses) < 50 || len(known.words) < 50 {
		t.Fatalf("%d addresses, %d names in the captures", len(known.addresses), len(known.words))
	}

	for name, key := range map[string]string{"spool plain": "", "spool encrypted": "spool.key"} {
		t.Run(name, func(t *testing.T) { leaves(t, paths, key, &known, plain, o.Totals.SeenPackets) })
	}
	control := 0 // the search finds what is there
	flowsProcess(t, job{Files: paths, Format: probe.FormatBatch}, nil, records(func(r *flow.Record) {
		if text := strings.ToLower(string(r.AppendJSON(nil))); wordIn(text, r.SrcIP.String()) >= 0 {
			control++
		}
	}))
	if control < plain/2 {
		t.Errorf("the search itself finds addresses in %d of %d records only", control, plain)
	}
}

// leaves runs the service with privacy and looks at all that it leaves.
func leaves(t *testing.T, paths []string, key string, known *personal, plain int, packets uint64) {
	dir := t.TempDir()
	for i, name := range []string{"privacy.key", "spool.key"} {
		b := make([]byte, 32)
		_, _ = rand.NewChaCha8([32]byte{12, byte(i)}).Read(b)
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = fmt.Sprintf("%q", p)
	}
	keyed, cfg := "", spoolIn(dir)
	if key != "" {
		cfg.KeyFile = filepath.Join(dir, key)
		keyed = ", key_file: " + cfg.KeyFile
	}
	p := serviceProcess(t, dir, fmt.Sprintf(`
name: contract
capture: {files: [%s]}
privacy: {key_file: %[2]s/privacy.key, addresses: all, macs: hash, names: hash, users: hash}
spool: {dir: %[2]s/spool, drain: 100ms%[4]s}
kafka: {brokers: ["127.0.0.1:1"]}
ops: {listen: "%[3]s", log_level: debug}
`, strings.Join(quoted, ", "), dir, metricsPort, keyed), nil)
	p.until(time.Minute, "all packets are read and spooled", func(m map[string]float64) bool {
		return sum(m, "tapwatch_probe_capture_packets_total") >= float64(packets) && sum(m, "tapwatch_probe_meter_open_flows") == 0
	})
	metrics := p.page()
	p.stop()

	disk := onDisk(t, filepath.Join(dir, "spool"))
	var out strings.Builder
	got := 0
	a := spooled(t, cfg, func(r *flow.Record) {
		got++
		out.Write(r.AppendJSON(nil))
		out.WriteByte('\n')
	})
	if got != plain || a.seen != packets {
		t.Fatalf("%d records of %d packets, without privacy %d of %d", got, a.seen, plain, packets)
	}
	logged := p.log()
	for _, path := range paths {
		logged = strings.ReplaceAll(logged, path, "")
	}
	for where, text := range map[string]string{"the batches": out.String(), "the log": logged, "the metrics": metrics, "the spool's files": disk} {
		text = strings.ToLower(text)
		found := 0
		for a := range known.addresses {
			if at := wordIn(text, a.String()); at >= 0 {
				if found++; found <= 5 {
					t.Errorf("%s: %v: …%s…", where, a, text[max(0, at-60):min(len(text), at+60)])
				}
			}
		}
		for w := range known.words {
			if at := wordIn(text, w); at >= 0 {
				if found++; found <= 5 {
					t.Errorf("%s: %q: …%s…", where, w, text[max(0, at-60):min(len(text), at+60)])
				}
			}
		}
		t.Logf("%s: %d octets, %d of %d addresses and %d names", where, len(text), found, len(known.addresses), len(known.words))
	}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// onDisk is all that is in the files of dir, and what compressed parts of it hold.
func onDisk(t *testing.T, dir string) string {
	t.Helper()
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var out bytes.Buffer
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out.Write(b)
		for rest := b; ; {
			at := bytes.Index(rest, []byte{0x28, 0xb5, 0x2f, 0xfd})
			if at < 0 {
				return err
			}
			rest = rest[at:]
			if plain, err := d.DecodeAll(rest, nil); err == nil || len(plain) > 0 {
				out.Write(plain)
			}
			rest = rest[4:]
		}
	})
	if err != nil || out.Len() == 0 {
		t.Fatalf("%d octets in %s: %v", out.Len(), dir, err)
	}
	return out.String()
}

// wordIn is where text has the word with no letter, digit, dot or colon beside
// it, or -1.
func wordIn(text, word string) int {
	part := func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == ':' }
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return -1
		}
		i += from
		j := i + len(word)
		if (i == 0 || !part(text[i-1])) && (j == len(text) || !part(text[j])) {
			return i
		}
		from = i + 1
	}
}

package dpi_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// conn is one connection as a minimal meter sees it: all its segments.
type conn struct {
	key     tuple
	rec     flow.Record
	st      *dpi.State
	records []flow.Record
}

type tuple struct {
	a, b  netip.AddrPort
	proto uint8
}

func (c *conn) cut() {
	c.records = append(c.records, c.rec.Clone())
}

// inspectFile runs a capture through decode and dpi with a flow table that
// splits connections at a SYN.
func inspectFile(t testing.TB, path string, in *dpi.Inspector) []*conn {
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Logf("%s: %v", path, err)
		return nil
	}
	defer src.Close()
	type key struct {
		a, b    flow.Addr
		ap, bp  uint16
		proto   uint8
		tunnel  flow.Tunnel
		id      uint32
		flipped bool
	}
	var (
		table = map[key]*conn{}
		all   []*conn
		dec   = decode.New(decode.DefaultConfig())
		f     capture.Frame
		p     decode.Packet
	)
	for {
		if err := src.Next(&f); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Logf("%s: %v", path, err)
			}
			break
		}
		if dec.Decode(&f, &p) != decode.OK {
			continue
		}
		k := key{p.Src, p.Dst, p.SrcPort, p.DstPort, p.Protocol, p.Tunnel, p.TunnelID, false}
		c, fromSrc := table[k], true
		if c == nil {
			k.a, k.b, k.ap, k.bp = p.Dst, p.Src, p.DstPort, p.SrcPort
			c, fromSrc = table[k], false
		}
		fresh := c != nil && c.rec.SrcPayloadBytes > 0 && p.Protocol == 6 && p.Flags&(decode.SYN|decode.ACK) == decode.SYN
		if c == nil || fresh {
			c, fromSrc = &conn{}, p.Protocol != 6 || p.Flags&(decode.SYN|decode.ACK) != decode.SYN|decode.ACK
			src, dst := netip.AddrPortFrom(p.Src.Netip(), p.SrcPort), netip.AddrPortFrom(p.Dst.Netip(), p.DstPort)
			k = key{p.Src, p.Dst, p.SrcPort, p.DstPort, p.Protocol, p.Tunnel, p.TunnelID, false}
			c.rec.SrcPort, c.rec.DstPort = p.SrcPort, p.DstPort
			if !fromSrc {
				src, dst = dst, src
				k = key{p.Dst, p.Src, p.DstPort, p.SrcPort, p.Protocol, p.Tunnel, p.TunnelID, false}
				c.rec.SrcPort, c.rec.DstPort = p.DstPort, p.SrcPort
			}
			c.key = tuple{src, dst, p.Protocol}
			table[k] = c
			all = append(all, c)
		}
		c.rec.SrcPayloadBytes += uint64(p.PayloadLen)
		if p.PayloadLen == 0 || c.st.Done() {
			continue
		}
		var full bool
		if c.st, full = in.Inspect(c.st, &p, fromSrc, &c.rec); full {
			c.cut()
			in.Segment(c.st, &c.rec)
		}
	}
	for _, c := range all {
		in.Close(c.st, &c.rec)
		c.cut()
	}
	return all
}

type oracle struct {
	Flows []struct {
		Proto    string
		Stream   int
		Src, Dst string
		Sport    int
		Dport    int
	}
	Counts map[string]int `json:"l7_counts"`
	L7     map[string][]map[string]any
}

// tally counts agreement per field over all captures.
type tally struct {
	t     *testing.T
	same  map[string]int
	wrong []string
}

func (a *tally) check(file, field string, ok bool, format string, args ...any) {
	if ok {
		a.same[field]++
		return
	}
	a.wrong = append(a.wrong, fmt.Sprintf("%s\t%s\t%s", file, field, fmt.Sprintf(format, args...)))
}

// report compares the disagreements with the list of those that were looked at.
func (a *tally) report(list string) {
	a.t.Helper()
	known := map[string]bool{}
	if f, err := os.Open(list); err == nil {
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if line := sc.Text(); line != "" && line[0] != '#' {
				known[line] = true
			}
		}
	}
	listed := 0
	for _, w := range a.wrong {
		if known[w] {
			listed++
			continue
		}
		a.t.Errorf("disagreement not in %s:\n%s", list, w)
	}
	for w := range known {
		if !slices.Contains(a.wrong, w) {
			a.t.Logf("no longer a disagreement, take it off %s: %.120s", list, w)
		}
	}
	differ := map[string]int{}
	for _, w := range a.wrong {
		differ[strings.Split(w, "\t")[1]]++
	}
	for _, f := range slices.Sorted(maps.Keys(a.same)) {
		total := a.same[f] + differ[f]
		a.t.Logf("quality: %-44s %6d of %6d  %6.2f %%", f+" ("+strings.TrimSuffix(filepath.Base(list), filepath.Ext(list))+")", a.same[f], total, 100*float64(a.same[f])/float64(total))
	}
	a.t.Logf("%d disagree, all of them listed with a reason: %d", len(a.wrong), listed)
}

func text(v any) string { s, _ := v.(string); return s }

// TestOracle compares with what tshark 4.0 says of the same captures.
func TestOracle(t *testing.T) {
	captures := corpus.Dir(t)
	a := &tally{t: t, same: map[string]int{}}
	in := dpi.NewInspector(dpi.Config{})
	for _, c := range corpus.Captures(t) {
		if strings.HasPrefix(c.Name, "bench/") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(captures, "oracle", c.Name+".json"))
		if err != nil {
			continue
		}
		var o oracle
		if err := json.Unmarshal(raw, &o); err != nil {
			t.Fatal(err)
		}
		compare(a, c.Name, &o, inspectFile(t, c.Path, in))
	}
	if len(a.same) == 0 {
		t.Error("nothing was compared")
	}
	if n := in.Stats().BufferBytes; n != 0 {
		t.Errorf("%d octets of buffers were not given back", n)
	}
	a.report("testdata/oracle-disagreements.tsv")
}

func compare(a *tally, file string, o *oracle, got []*conn) {
	stream := map[string]tuple{}
	for _, f := range o.Flows {
		src, err1 := netip.ParseAddr(f.Src)
		dst, err2 := netip.ParseAddr(f.Dst)
		if err1 == nil && err2 == nil {
			proto := map[string]uint8{"tcp": 6, "udp": 17}[f.Proto]
			stream[fmt.Sprintf("%s/%d", f.Proto, f.Stream)] = tuple{netip.AddrPortFrom(src, uint16(f.Sport)), netip.AddrPortFrom(dst, uint16(f.Dport)), proto}
		}
	}
	// has looks for a connection of the stream whose records fulfil ok.
	has := func(id any, ok func(*flow.Record) bool) (string, bool) {
		k, known := stream[text(id)]
		for _, c := range got {
			if known && c.key != k && c.key != (tuple{k.b, k.a, k.proto}) {
				continue
			}
			for i := range c.records {
				if ok(&c.records[i]) {
					return "", true
				}
			}
		}
		return fmt.Sprint(id), false
	}
	greeted := map[string]bool{}
	for _, e := range o.L7["tls_client_hello"] {
		if id := text(e["flow"]); greeted[id] {
			continue // a second hello, after HelloRetryRequest: the first one counts
		} else {
			greeted[id] = true
		}
		where, ok := has(e["flow"], func(r *flow.Record) bool { return r.TLSSNI == text(e["sni"]) && r.JA3 == text(e["ja3"]) && r.JA4 != "" })
		a.check(file, "sni+ja3", ok, "%s %s %s", where, e["sni"], e["ja3"])
		if alpn := text(e["alpn"]); alpn != "" {
			where, ok = has(e["flow"], func(r *flow.Record) bool { return strings.Contains(","+r.TLSALPN+",", ","+alpn+",") })
			a.check(file, "alpn", ok, "%s %s", where, alpn)
		}
	}
	for _, e := range o.L7["tls_server_hello"] {
		where, ok := has(e["flow"], func(r *flow.Record) bool { return r.JA3S == text(e["ja3s"]) && r.TLSCipher != 0 })
		a.check(file, "ja3s", ok, "%s %s", where, e["ja3s"])
	}
	for _, e := range o.L7["quic"] {
		for v := range strings.SplitSeq(text(e["version"]), ",") {
			n, err := strconv.ParseUint(v, 0, 32)
			if err != nil || n == 0 {
				continue
			}
			where, ok := has(e["flow"], func(r *flow.Record) bool { return uint64(r.QUICVersion) == n && r.App == "quic" })
			a.check(file, "quic version", ok, "%s %s", where, v)
		}
	}
	for _, e := range o.L7["ssh"] {
		for field, value := range map[string]func(*flow.Record) [2]string{
			"banner": func(r *flow.Record) [2]string { return [2]string{r.SSHClient, r.SSHServer} },
			"hassh":  func(r *flow.Record) [2]string { return [2]string{r.HASSH, r.HASSH} },
			"hassh_server": func(r *flow.Record) [2]string {
				return [2]string{r.HASSHServer, r.HASSHServer}
			},
		} {
			if want := text(e[field]); want != "" {
				where, ok := has(e["flow"], func(r *flow.Record) bool { v := value(r); return v[0] == want || v[1] == want })
				a.check(file, "ssh "+field, ok, "%s %s", where, want)
			}
		}
	}
	compareLists(a, file, o, got)
}

// compareLists compares HTTP and DNS as multisets over the whole capture.
func compareLists(a *tally, file string, o *oracle, got []*conn) {
	requests, statuses, names, rcodes := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	for _, c := range got {
		for _, r := range c.records {
			for _, q := range r.HTTPRequests {
				requests[q]++
			}
			for _, s := range r.HTTPStatuses {
				statuses[strconv.Itoa(int(s))]++
			}
			for i, n := range r.DNSNames {
				n = fold(n)
				names[fmt.Sprint(n, " ", r.DNSQTypes[i])]++
				if r.DNSRcodes[i] != 65535 {
					rcodes[fmt.Sprint(n, " ", r.DNSQTypes[i], " ", r.DNSRcodes[i])]++
				}
			}
		}
	}
	take := func(field string, m map[string]int, k string, e map[string]any) {
		if text(e["flow"]) == "" || strings.HasPrefix(field, "http") && strings.HasPrefix(text(e["flow"]), "udp") {
			return // quoted in an ICMP error; SSDP
		}
		if len(k) >= 300 && m[k] == 0 { // the oracle holds 300 characters of a string
			for long := range m {
				if m[long] > 0 && strings.HasPrefix(long, k[:300]) {
					k = long
					break
				}
			}
		}
		m[k]--
		a.check(file, field, m[k] >= 0, "%s %s", e["flow"], k)
	}
	for _, e := range o.L7["http"] {
		if m := text(e["method"]); m != "" {
			host, uri := text(e["host"]), text(e["uri"])
			if _, rest, ok := strings.Cut(uri, "://"); ok && len(uri)-len(rest) < 9 {
				uri, host = rest, ""
			}
			if uri == "*" {
				uri = "/*"
			}
			if m == "CONNECT" && !strings.HasPrefix(uri, "/") {
				host = ""
			}
			request := m + " " + host + uri
			take("http request", requests, request[:min(len(request), flow.MaxString)], e)
		}
		if s := text(e["status"]); s != "" {
			take("http status", statuses, s, e)
		}
	}
	for _, e := range o.L7["dns"] {
		qname, response := text(e["qname"]), text(e["response"]) == "1" || text(e["response"]) == "True"
		for i, n := range strings.Split(qname, ",") {
			qtype := strings.Split(text(e["qtype"]), ",")
			n = fold(n)
			switch {
			case n == "" || i >= len(qtype):
			case n == "<Root>":
				n = ""
				fallthrough
			case !response:
				if !response {
					take("dns query", names, n+" "+qtype[i], e)
				}
			default:
				take("dns rcode", rcodes, n+" "+qtype[i]+" "+text(e["rcode"]), e)
			}
		}
	}
}

var escaped = regexp.MustCompile(`\\([0-9]{3}|.)`)

// fold makes names comparable: tshark prints raw octets, and its output lost
// those that are not UTF-8, so every run beyond ASCII becomes one "?".
func fold(name string) string {
	name = escaped.ReplaceAllStringFunc(name, func(e string) string {
		if n, err := strconv.Atoi(e[1:]); err == nil && len(e) == 4 {
			return string([]byte{byte(n)})
		}
		return e[1:]
	})
	var out []byte
	for _, c := range []byte(name) {
		if c >= 0x80 {
			c = '?'
			if len(out) > 0 && out[len(out)-1] == '?' {
				continue
			}
		}
		out = append(out, c)
	}
	return string(out)
}

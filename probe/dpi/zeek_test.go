package dpi_test

import (
	"crypto/tls"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestZeek compares with the logs of Zeek's own tests.
func TestZeek(t *testing.T) {
	captures := corpus.Dir(t)
	a := &tally{t: t, same: map[string]int{}}
	in := dpi.NewInspector(dpi.Config{})
	for _, log := range []string{
		"wikipedia.pcap/opt.basic/http.log",
		"wikipedia.pcap/opt.basic/dns.log",
		"http/get.pcap/core.tcp.reassembly-known-ports/http.log",
		"http/methods.pcap/scripts.base.protocols.http.http-methods/http.log",
		"mixed-vlan-mpls.pcap/core.vlan-mpls/http.log",
		"nflog-http.pcap/core.nflog/http.log",
		"tunnels/Teredo.pcap/core.tunnels.teredo/http.log",
		"dnssec/rrsig.pcap/scripts.base.protocols.dns.rrsig/dns.log",
		"dns53.pcap/scripts.base.protocols.dns.flip/dns.log",
		"ssh/ssh.pcap/scripts.base.protocols.ssh.basic/ssh.log",
		"rdp/rdp-to-ssl.pcap/scripts.base.protocols.rdp.rdp-to-ssl/ssl.log",
		"tls/tls-conn-with-extensions.pcap/scripts.base.protocols.ssl.basic/ssl.log",
		"tls/tls13_wolfssl.pcap/scripts.base.protocols.ssl.tls13_encrypted_handshake_events/ssl.log",
		"quic/chromium-115.0.5790.110-api-cirrus-com.pcap/scripts.base.protocols.quic.chromium/ssl.log",
		"quic/interop/quic-go_quic-go/handshake.pcap/scripts.base.protocols.quic.interop.quic-go_quic-go.handshake/ssl.log",
	} {
		file := filepath.Dir(filepath.Dir(log))
		got := inspectFile(t, filepath.Join(captures, "zeek", file), in)
		for _, row := range corpus.ZeekSet(t, filepath.Join(captures, "zeek/expected", log)) {
			zeekRow(a, "zeek/"+file, strings.TrimSuffix(filepath.Base(log), ".log"), row, got)
		}
	}
	a.report("testdata/zeek-disagreements.tsv")
}

func zeekRow(a *tally, file, kind string, row map[string]string, got []*conn) {
	addr := func(side string) netip.AddrPort {
		ip, _ := netip.ParseAddr(row["id."+side+"_h"])
		port, _ := strconv.ParseUint(row["id."+side+"_p"], 10, 16)
		return netip.AddrPortFrom(ip, uint16(port))
	}
	src, dst := addr("orig"), addr("resp")
	has := func(field, want string, ok func(*flow.Record) bool) {
		if want == "" {
			return
		}
		found := slices.ContainsFunc(got, func(c *conn) bool {
			return (c.key.a == src && c.key.b == dst || c.key.a == dst && c.key.b == src) &&
				slices.ContainsFunc(c.records, func(r flow.Record) bool { return ok(&r) })
		})
		a.check(file, kind+" "+field, found, "%s %s %s", src, dst, want)
	}
	switch kind {
	case "http":
		target := row["host"] + row["uri"]
		if row["uri"] == "*" {
			target = row["host"] + "/*"
		}
		has("request", row["method"], func(r *flow.Record) bool {
			return slices.Contains(r.HTTPRequests, row["method"]+" "+target)
		})
		has("status", row["status_code"], func(r *flow.Record) bool {
			n, _ := strconv.Atoi(row["status_code"])
			return n == 0 || slices.Contains(r.HTTPStatuses, uint16(n))
		})
		if row["trans_depth"] == "1" {
			has("user agent", row["user_agent"], func(r *flow.Record) bool { return r.HTTPUserAgent == row["user_agent"] })
		}
	case "dns":
		has("query", row["query"], func(r *flow.Record) bool { return containsName(r.DNSNames, row["query"]) })
		has("rcode", row["rcode"], func(r *flow.Record) bool {
			n, _ := strconv.Atoi(row["rcode"])
			return slices.Contains(r.DNSRcodes, uint16(n))
		})
		for v := range strings.SplitSeq(row["answers"], ",") {
			if !strings.HasPrefix(v, "RRSIG") && !strings.HasPrefix(v, "TXT") {
				has("answer", v, func(r *flow.Record) bool { return containsName(r.DNSAnswers, v) })
			}
		}
		has("rtt", row["rtt"], func(r *flow.Record) bool {
			s, _ := strconv.ParseFloat(row["rtt"], 64)
			return int(s*1e6+0.5) == int(r.DNSLatency)
		})
	case "ssh":
		has("client", row["client"], func(r *flow.Record) bool { return r.SSHClient == row["client"] })
		has("server", row["server"], func(r *flow.Record) bool { return r.SSHServer == row["server"] })
	case "ssl":
		has("server name", row["server_name"], func(r *flow.Record) bool { return r.TLSSNI == row["server_name"] })
		has("cipher", row["cipher"], func(r *flow.Record) bool { return tls.CipherSuiteName(r.TLSCipher) == row["cipher"] })
		has("version", row["version"], func(r *flow.Record) bool {
			return map[uint16]string{0x0300: "SSLv3", 0x0301: "TLSv10", 0x0302: "TLSv11", 0x0303: "TLSv12", 0x0304: "TLSv13"}[r.TLSVersion] == row["version"]
		})
	}
}

// containsName compares as Zeek writes names: lower case, NetBIOS without suffix.
func containsName(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		n, _, _ = strings.Cut(n, "<")
		return strings.EqualFold(n, name)
	})
}

// TestSuricata holds what Suricata's own tests expect.
func TestSuricata(t *testing.T) {
	dir := corpus.Path(t, "suricata-verify")
	in, n := dpi.NewInspector(dpi.Config{}), 0
	for _, c := range inspectFile(t, filepath.Join(dir, "ja4-quic/input.pcap"), in) {
		if c.records[0].JA4 == "q13d0310h3_55b375c5d22e_cd85d2d88918" {
			n++
		}
	}
	if n != 11 {
		t.Errorf("%d QUIC flows with the expected JA4, want 11", n)
	}
	if !slices.ContainsFunc(inspectFile(t, filepath.Join(dir, "ssh-hassh/input.pcap"), in), func(c *conn) bool {
		return c.records[0].HASSH == "2dd6531c7e89d3c925db9214711be76a" && c.records[0].HASSHServer == "6832f1ce43d4397c2c0a3e2f8c94334e"
	}) {
		t.Error("no flow with the expected HASSH")
	}
}

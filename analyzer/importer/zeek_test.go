package importer

import (
	"bufio"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/analyzer/importer/zeek"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// kept is a Sink that keeps copies.
type kept struct {
	records []*flow.Record
	lost    map[string]int
	streams []uint64
}

func (k *kept) Add(r *flow.Record) error {
	c := r.Clone()
	k.records = append(k.records, &c)
	return nil
}

func (k *kept) Lost(reason string, _ int64) {
	if k.lost == nil {
		k.lost = make(map[string]int)
	}
	k.lost[reason]++
}

func (k *kept) Stream(id uint64) error { k.streams = append(k.streams, id); return nil }

// captures is the directory of shared captures, beside the project.
func captures(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../../shared/captures")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "captures.tsv")); err != nil {
		t.Skip("the shared captures are not beside the project (../shared/captures)")
	}
	return dir
}

// dataLines are the lines of a log that are neither comments nor empty.
func dataLines(t *testing.T, path string) (n uint64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if s := lines.Text(); s != "" && s[0] != '#' {
			n++
		}
	}
	return n
}

// Every line of the flow logs becomes a record, joins one, or is left out for a reason that is right.
func TestZeekLogsOfSites(t *testing.T) {
	dir := captures(t)
	for d, reasons := range map[string][]string{
		"rita-server-day1": nil, "rita-proxy_rolling": {source.SkipNoFlow}, "slips/portscan-horizontal": nil, "slips/test18-ctu-sme-11-win": nil,
		"strato-002-zeek-scenario-port-scanning": nil, "strato-006-zeek-scenario-ssh": nil,
		"strato-008-zeek-mixed/data": {source.SkipNoFlow, source.SkipUnknown}, "strato-010-zeek-mixed/data": {source.SkipNoFlow, source.SkipUnknown},
	} {
		files, err := filepath.Glob(filepath.Join(dir, "flows", d, "*.log*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", d, files, err)
		}
		var k kept
		tally, err := Zeek(context.Background(), files, &k)
		if err != nil {
			t.Fatal(err)
		}
		var connections, lines uint64
		conns := 0
		for _, f := range files {
			n := dataLines(t, f)
			lines += n
			if zeek.Kind(f) == "conn" {
				connections += n
				conns++
			}
		}
		if tally.Converted != connections || tally.Read != lines || tally.Records != uint64(len(k.records)) || len(k.streams) != conns {
			t.Errorf("%s: %d lines of conn.log in %d of all; %s", d, connections, lines, tally.String())
		}
		if tally.Read != tally.Converted+tally.Joined+tally.Lost() {
			t.Errorf("%s: the account does not close: %s", d, tally.String())
		}
		for reason, s := range tally.Skipped {
			if !slices.Contains(reasons, reason) || uint64(k.lost[reason]) != s.Count {
				t.Errorf("%s: %s: %+v, the sink was told of %d", d, reason, s, k.lost[reason])
			}
		}
	}
}

// The logs that Zeek's own tests expect, whose times are masked, are read as
// they are, protocol by protocol.
func TestZeekExpectedLogs(t *testing.T) {
	dir := captures(t)
	logs := make(map[string][]string) // by directory
	err := filepath.WalkDir(filepath.Join(dir, "zeek/expected"), func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".log") {
			logs[filepath.Dir(path)] = append(logs[filepath.Dir(path)], path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	apps := make(map[string]bool)
	for d, files := range logs {
		tmp := t.TempDir()
		var lines uint64
		for i, path := range files {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(b), "#fields") { // one log stands without its header
				continue
			}
			files[i] = filepath.Join(tmp, filepath.Base(path))
			text := strings.ReplaceAll(string(b), "XXXXXXXXXX.XXXXXX", "1700000000.123456")
			if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			lines += dataLines(t, files[i])
		}
		files = slices.DeleteFunc(files, func(f string) bool { return filepath.Dir(f) != tmp })
		var k kept
		tally, err := Zeek(context.Background(), files, &k)
		if err != nil {
			t.Fatal(err)
		}
		if tally.Read != lines || tally.Read != tally.Converted+tally.Joined+tally.Lost() {
			t.Errorf("%s: %d lines: %s", d, lines, tally.String())
		}
		for reason, s := range tally.Skipped {
			renamed := reason == source.SkipAddress && strings.Contains(strings.ReplaceAll(d, "-", "_"), "field_name_map") // the test gives columns other names
			if !renamed && reason != source.SkipUnknown && reason != source.SkipNoFlow {
				t.Errorf("%s: %s: %+v", d, reason, s)
			}
		}
		for _, r := range k.records {
			apps[r.App] = true
			if r.Origin != "zeek" {
				t.Errorf("%s: origin %q", d, r.Origin)
			}
		}
	}
	for _, app := range []string{"dns", "http", "tls", "ftp", "ssh", "rdp", "redis", "mysql", "ldap", "mqtt", "kerberos", "smb", "sip", "smtp", "snmp", "ntp", "quic", "dnp3", "radius"} {
		if !apps[app] {
			t.Errorf("no record of %s", app)
		}
	}
}

// One connection, by TSV and by each shape of JSON, with all that is said of it.
func TestZeekFields(t *testing.T) {
	tsv := map[string]string{
		"conn.log": "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n" +
			"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\torig_l2_addr\n" +
			"1700000000.123456\tC1\t10.0.0.1\t40000\t192.0.2.1\t443\ttcp\tssl\t1.500000\t500\t6000\tSF\t0\tShADadFf\t9\t900\t10\t6500\t00:11:22:33:44:55\n",
		"ssl.log": "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tssl\n" +
			"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tversion\tcipher\tserver_name\tnext_protocol\tcert_chain_fps\tvalidation_status\tja3\n" +
			"1700000000.2\tC1\t10.0.0.1\t40000\t192.0.2.1\t443\tTLSv12\tTLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\twww.example.org\th2\tFP1\tself signed certificate\te0ff89ed9185dfb09184797a4c3f2e1c\n",
		"x509.log": "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tx509\n" +
			"#fields\tts\tfingerprint\tcertificate.subject\tcertificate.issuer\tcertificate.not_valid_before\tcertificate.not_valid_after\tsan.dns\n" +
			"1700000000.2\tFP1\tCN=www.example.org\tCN=Example CA\t1690000000.000000\t1710000000.000000\twww.example.org,b\\x2cc.example.org\n",
	}
	flat := map[string]string{
		"conn.log": `{"ts":1700000000.123456,"uid":"C1","id.orig_h":"10.0.0.1","id.orig_p":40000,"id.resp_h":"192.0.2.1","id.resp_p":443,"proto":"tcp","service":"ssl","duration":1.5,"orig_bytes":500,"resp_bytes":6000,"conn_state":"SF","missed_bytes":0,"history":"ShADadFf","orig_pkts":9,"orig_ip_bytes":900,"resp_pkts":10,"resp_ip_bytes":6500,"orig_l2_addr":"00:11:22:33:44:55"}`,
		"ssl.log":  `{"ts":1700000000.2,"uid":"C1","id.orig_h":"10.0.0.1","id.resp_h":"192.0.2.1","version":"TLSv12","cipher":"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256","server_name":"www.example.org","next_protocol":"h2","cert_chain_fps":["FP1"],"validation_status":"self signed certificate","ja3":"e0ff89ed9185dfb09184797a4c3f2e1c"}`,
		"x509.log": `{"ts":1700000000.2,"fingerprint":"FP1","certificate.subject":"CN=www.example.org","certificate.issuer":"CN=Example CA","certificate.not_valid_before":1690000000,"certificate.not_valid_after":1710000000,"san.dns":["www.example.org","b,c.example.org"]}`,
	}
	nested := map[string]string{"all.json": `{"_path":"conn","ts":"2023-11-14T22:13:20.123456Z","uid":"C1","id":{"orig_h":"10.0.0.1","orig_p":40000,"resp_h":"192.0.2.1","resp_p":443},"proto":"tcp","service":"ssl","duration":1.5,"orig_bytes":500,"resp_bytes":6000,"conn_state":"SF","history":"ShADadFf","orig_pkts":9,"orig_ip_bytes":900,"resp_pkts":10,"resp_ip_bytes":6500,"orig_l2_addr":"00:11:22:33:44:55"}` + "\n" +
		strings.Replace(flat["ssl.log"], "{", `{"_path":"ssl",`, 1) + "\n" + strings.Replace(flat["x509.log"], "{", `{"_path":"x509",`, 1)}
	for name, logs := range map[string]map[string]string{"tsv": tsv, "json": flat, "json of several logs": nested} {
		dir := t.TempDir()
		var files []string
		for file, text := range logs {
			files = append(files, filepath.Join(dir, file))
			appendTo(t, files[len(files)-1], text)
		}
		var k kept
		tally, err := Zeek(context.Background(), files, &k)
		if err != nil || len(k.records) != 1 || tally.Lost() != 0 || tally.Read != 3 {
			t.Fatalf("%s: %d records, %s, %v", name, len(k.records), tally.String(), err)
		}
		r := k.records[0]
		want := flow.Record{Origin: "zeek", FlowID: 1, SrcPort: 40000, DstPort: 443, Protocol: 6, SrcIP: r.SrcIP, DstIP: r.DstIP, SrcMAC: 0x001122334455,
			Start: 1700000000_123456000, End: 1700000001_623456000, EndReason: flow.EndDetected, SrcPackets: 9, DstPackets: 10, SrcBytes: 900, DstBytes: 6500,
			SrcPayloadBytes: 500, DstPayloadBytes: 6000, SrcTCPFlags: 1 | 2 | 16, DstTCPFlags: 1 | 2 | 16, ConnState: flow.ConnSF, History: "ShADadFf",
			App: "tls", AppSource: flow.AppDPI, TLSVersion: 0x0303, TLSCipher: 0xc02f, TLSSNI: "www.example.org", TLSALPN: "h2", JA3: "e0ff89ed9185dfb09184797a4c3f2e1c",
			Risks: flow.RiskTLSSelfsignedCertificate, CertSubject: "CN=www.example.org", CertIssuer: "CN=Example CA", CertNotBefore: 1690000000, CertNotAfter: 1710000000}
		names := r.CertNames
		for _, p := range []*flow.Record{r, &want} {
			p.CertNames = nil
		}
		if g, w := string(r.AppendJSON(nil)), string(want.AppendJSON(nil)); g != w || r.SrcIP.String() != "10.0.0.1" || r.DstIP.String() != "192.0.2.1" {
			t.Errorf("%s (-got +want)\n-%s\n+%s", name, g, w)
		}
		if !slices.Equal(names, []string{"www.example.org", "b,c.example.org"}) {
			t.Errorf("%s: names %q", name, names)
		}
	}
}

// Without conn.log the names are kept, and the counters are unknown.
func TestZeekOrphans(t *testing.T) {
	files := []string{filepath.Join(captures(t), "flows/rita-server-day1/dns.log.gz")}
	var k kept
	tally, err := Zeek(context.Background(), files, &k)
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, r := range k.records {
		names += len(r.DNSNames)
		if r.Packets() != 0 || !slices.Contains([]string{"dns", "mdns", "llmnr", "nbns"}, r.App) || r.Start == 0 {
			t.Fatalf("%+v", r)
		}
	}
	if want := dataLines(t, files[0]); uint64(names) != want || tally.Lost() != 0 || len(k.streams) != 1 {
		t.Errorf("%d names, the log has %d: %s", names, want, tally.String())
	}
}

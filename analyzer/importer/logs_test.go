package importer

import (
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Argus's flows add up to what the file says.
func TestArgus(t *testing.T) {
	path := filepath.Join(captures(t), "flows/slips/test3-mixed.binetflow")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var packets, bytes uint64
	for _, cells := range lines[1:] {
		n := func(name string) uint64 {
			v, _ := strconv.ParseUint(cells[slices.Index(lines[0], name)], 10, 64)
			return v
		}
		packets, bytes = packets+n("TotPkts"), bytes+n("TotBytes")
	}
	var k kept
	tally, err := Argus(context.Background(), []string{path}, &k)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.records) != len(lines)-1 || tally.Lost() != 0 {
		t.Errorf("%d records of %d lines: %s", len(k.records), len(lines)-1, tally.String())
	}
	for _, r := range k.records {
		packets, bytes = packets-r.Packets(), bytes-r.FrameBytes()
		if r.Protocol == 6 && r.ConnState == flow.ConnNone {
			t.Errorf("no state: %+v", r)
		}
	}
	if packets != 0 || bytes != 0 {
		t.Errorf("%d packets and %d bytes are missing", packets, bytes)
	}
	first := k.records[0] // tcp,216.73.23.146,52691, ->,147.32.81.57,445,S_,0,0,1,70,70,1
	if first.SrcIP.String() != "216.73.23.146" || first.DstPort != 445 || first.ConnState != flow.ConnS0 || first.SrcPackets != 1 || first.DstPackets != 0 ||
		first.StartTime().Format("2006-01-02T15:04:05.000000") != "2018-12-18T14:00:00.075359" || first.SrcPayloadBytes != 0 {
		t.Errorf("%+v", first)
	}
}

// Events in the shapes of Suricata 6 to 8.
const eveLog = `{"timestamp":"2024-01-05T10:00:00.100000+0000","flow_id":1,"in_iface":"eth0","event_type":"dns","src_ip":"10.0.0.5","src_port":50000,"dest_ip":"10.0.0.1","dest_port":53,"proto":"UDP","dns":{"type":"query","id":7,"rrname":"www.example.org","rrtype":"A","tx_id":0}}
{"timestamp":"2024-01-05T10:00:00.120000+0000","flow_id":1,"in_iface":"eth0","event_type":"dns","src_ip":"10.0.0.5","src_port":50000,"dest_ip":"10.0.0.1","dest_port":53,"proto":"UDP","dns":{"version":2,"type":"answer","id":7,"flags":"8180","qr":true,"rrname":"www.example.org","rrtype":"A","rcode":"NOERROR","answers":[{"rrname":"www.example.org","rrtype":"A","ttl":300,"rdata":"192.0.2.80"}]}}
{"timestamp":"2024-01-05T10:00:01.000000+0000","flow_id":2,"in_iface":"eth0","event_type":"tls","src_ip":"10.0.0.5","src_port":50001,"dest_ip":"192.0.2.80","dest_port":443,"proto":"TCP","tls":{"subject":"CN=x","issuerdn":"CN=x","version":"TLS 1.2","sni":"www.example.org","notbefore":"2023-01-01T00:00:00","notafter":"2024-12-31T00:00:00","ja3":{"hash":"e0ff89ed9185dfb09184797a4c3f2e1c","string":"771,"},"client_alpns":["h2","http/1.1"]}}
{"timestamp":"2024-01-05T10:00:02.000000+0000","flow_id":3,"in_iface":"eth0","event_type":"http","src_ip":"10.0.0.5","src_port":50002,"dest_ip":"192.0.2.81","dest_port":80,"proto":"TCP","tx_id":0,"http":{"hostname":"h.example","url":"/a?x=1","http_user_agent":"curl/8","http_content_type":"text/html","http_method":"GET","protocol":"HTTP/1.1","status":404,"length":12}}
{"timestamp":"2024-01-05T10:00:02.100000+0000","flow_id":3,"event_type":"alert","src_ip":"192.0.2.81","src_port":80,"dest_ip":"10.0.0.5","dest_port":50002,"proto":"TCP","alert":{"action":"allowed","signature_id":2,"signature":"ET X","severity":1}}
{"timestamp":"2024-01-05T10:00:30.000000+0000","flow_id":1,"in_iface":"eth0","event_type":"flow","src_ip":"10.0.0.5","src_port":50000,"dest_ip":"10.0.0.1","dest_port":53,"proto":"UDP","app_proto":"dns","flow":{"pkts_toserver":1,"pkts_toclient":1,"bytes_toserver":75,"bytes_toclient":91,"start":"2024-01-05T10:00:00.100000+0000","end":"2024-01-05T10:00:00.120000+0000","age":0,"state":"established","reason":"timeout","alerted":false}}
{"timestamp":"2024-01-05T10:01:00.000000+0000","flow_id":2,"in_iface":"eth0","event_type":"flow","vlan":[12],"src_ip":"10.0.0.5","src_port":50001,"dest_ip":"192.0.2.80","dest_port":443,"proto":"TCP","app_proto":"tls","flow":{"pkts_toserver":10,"pkts_toclient":12,"bytes_toserver":1800,"bytes_toclient":9000,"start":"2024-01-05T10:00:00.900000+0000","end":"2024-01-05T10:00:05.000000+0000","age":5,"state":"closed","reason":"timeout","alerted":false},"tcp":{"tcp_flags":"1b","tcp_flags_ts":"1b","tcp_flags_tc":"1b","syn":true,"fin":true,"psh":true,"ack":true,"state":"closed"}}
{"timestamp":"2024-01-05T10:01:00.000000+0000","flow_id":4,"event_type":"flow","src_ip":"198.51.100.9","src_port":40000,"dest_ip":"10.0.0.5","dest_port":23,"proto":"TCP","flow":{"pkts_toserver":1,"pkts_toclient":1,"bytes_toserver":60,"bytes_toclient":60,"start":"2024-01-05T10:00:10.000000+0000","end":"2024-01-05T10:00:10.000100+0000","state":"closed","reason":"timeout","alerted":false},"tcp":{"tcp_flags":"16","tcp_flags_ts":"02","tcp_flags_tc":"14"}}
not json
{"timestamp":"2024-01-05T10:02:00.000000+0000","event_type":"stats","stats":{"uptime":1}}
`

func TestEVE(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eve.json")
	appendTo(t, path, eveLog)
	var k kept
	tally, err := EVE(context.Background(), []string{path}, &k)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.records) != 4 || tally.Read != 10 || tally.Converted != 4 || tally.Joined != 4 || tally.Lost() != 2 {
		t.Fatalf("%d records: %s", len(k.records), tally.String())
	}
	if first := tally.Skipped["import_malformed"].First; !strings.HasPrefix(first, path+":9") {
		t.Errorf("malformed at %s", first)
	}
	dns, tls, refused, http := k.records[0], k.records[1], k.records[2], k.records[3]
	if dns.App != "dns" || !slices.Equal(dns.DNSNames, []string{"www.example.org"}) || !slices.Equal(dns.DNSRcodes, []uint16{0}) ||
		!slices.Equal(dns.DNSAnswers, []string{"192.0.2.80"}) || dns.DNSLatency != 20_000 || dns.SrcBytes != 61 || dns.SrcPayloadBytes != 33 || dns.ConnState != flow.ConnSF {
		t.Errorf("dns: %+v", dns)
	}
	if tls.App != "tls" || tls.TLSSNI != "www.example.org" || tls.TLSVersion != 0x0303 || tls.VLAN != 12 || tls.Risks&flow.RiskTLSSelfsignedCertificate == 0 ||
		tls.TLSALPN != "h2,http/1.1" || tls.ConnState != flow.ConnSF || tls.EndReason != flow.EndDetected || tls.SrcFrameBytes != 1800 || tls.SrcBytes != 1800-18*10 {
		t.Errorf("tls: %+v", tls)
	}
	if refused.ConnState != flow.ConnREJ || refused.DstPayloadBytes != 0 || refused.InitiatorGuessed {
		t.Errorf("refused: %+v", refused)
	}
	// Its flow event never came: names without counters, and the alert.
	if http.App != "http" || http.HTTPHost != "h.example" || http.HTTPStatus != 404 || http.AppErrors != 1 || http.Packets() != 0 || http.Risks&flow.RiskPossibleExploit == 0 ||
		http.SrcIP.String() != "10.0.0.5" {
		t.Errorf("http: %+v", http)
	}
}

package collector_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// payloads are n texts that would do something, were they SQL, a pattern, a path
// or a parameter.
func payloads(n int) (list []string) {
	starts := []string{"'", "\"", "`", "\\", "\\'", "')", "'))", "''", "$$", "/*", "--", "{", "?", "@p", "%", "\x00", "\n", "\t", "\u202e", "’", "é", ""}
	middles := []string{"; DROP TABLE flows", " OR 1=1", " UNION ALL SELECT password FROM system.users", " SETTINGS readonly=0", "{probe:Identifier}",
		"{a:String}", "${jndi:ldap://x/a}", "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "../../etc/passwd", "%s%n%d", "INTO OUTFILE '/tmp/x'",
		"(SELECT file('/etc/passwd'))", "\\x27", "\\0", "\x1b[2J", "{{.}}", "NaN", "NULL", strings.Repeat("a", 1000)}
	ends := []string{"", " --", "#", "'", "/*", "\\", ";"}
	for i := 0; len(list) < n; i++ {
		list = append(list, starts[i%len(starts)]+middles[i/len(starts)%len(middles)]+ends[i/(len(starts)*len(middles))%len(ends)])
	}
	return list
}

// S4: what probes saw on the wire, and what they call themselves, is data all the
// way: 1000 texts in every field that holds text come back as they were, and do
// nothing else, in flows, rollups and the ledger.
func TestPayloadsAreData(t *testing.T) {
	r := newRig(t, 2)
	stop := r.start(r.cfg)
	defer stop()
	texts := payloads(1000)
	if n := len(slices.Compact(slices.Sorted(slices.Values(texts)))); n < 990 {
		t.Fatalf("%d different payloads", n)
	}
	start := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
	var sent [][]byte
	for i, probe := range []string{"p", texts[1], texts[23], texts[460]} {
		e := flow.NewEncoder()
		for j, s := range texts {
			f := flow.Record{FlowID: uint64(j + 1), Start: start.UnixNano() + int64(j), End: start.UnixNano() + int64(j) + 1, Protocol: 6, DstPort: 443,
				SrcPackets: 1, DstPackets: 1, SrcPayloadBytes: 1, DstPayloadBytes: 1, SrcIP: address(10<<24, 1), DstIP: address(203<<24, 1),
				Interface: s, TLSSNI: s, HTTPHost: s, HTTPUserAgent: s, HTTPURI: s, JA3: s, JA4: s, HASSH: s, App: s, User: s, DNSNames: []string{s}, DNSAnswers: []string{s},
				HTTPRequests: []string{s, s}}
			if !e.Fits(&f) {
				break // the rest comes with another probe's batch below
			}
			e.Add(&f)
		}
		h := &flowpb.FlowBatch{Probe: probe, Site: texts[44+i], Epoch: uint64(i + 1), Seq: 1, ClockNs: time.Now().UnixNano(), WatermarkNs: time.Now().UnixNano(), SealedNs: time.Now().UnixNano(),
			Ledger:  []*flowpb.LedgerSecond{{Second: start.Unix(), Losses: []*flowpb.Loss{{Reason: probe, Packets: 1}}}},
			Dropped: []*flowpb.DropRange{{Epoch: 1, SeqFrom: 1, SeqTo: 1, Reason: probe}}}
		if n := e.Len(); n < len(texts) {
			t.Fatalf("%d payloads of %d fit", n, len(texts))
		}
		message, err := e.Seal(h)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, message)
	}
	for i, message := range sent {
		produce(t, r.client, r.cfg.Topic, i%2, message, message) // twice: the second has to be found by its names
	}
	want := uint64(len(sent) * len(texts))
	r.until("SELECT count() FROM flows", want, time.Minute)
	r.until("SELECT count() FROM batches FINAL WHERE status = 'duplicate'", uint64(len(sent)), time.Minute)
	r.until("SELECT sum(segments) FROM flows_1h", want, time.Minute)
	for _, column := range []string{"interface", "tls_sni", "http_host", "http_user_agent", "http_uri", "ja3", "ja4", "hassh", "app", "user", "dns_names[1]", "dns_answers[1]", "http_requests[2]"} {
		var got []string
		r.query(fmt.Sprintf("SELECT groupArray(x) FROM (SELECT toString(%s) AS x FROM flows WHERE epoch = 2 ORDER BY row)", column), &got)
		if !slices.Equal(got, texts) {
			for i := range got {
				if got[i] != texts[i] {
					t.Errorf("%s %d: (-got +want)\n-%q\n+%q", column, i, got[i], texts[i])
					break
				}
			}
			t.Errorf("%s: %d of %d", column, len(got), len(texts))
		}
	}
	var probes []string
	r.query("SELECT arraySort(groupUniqArray(probe)) FROM ledger_losses WHERE probe = reason", &probes)
	if want := slices.Sorted(slices.Values([]string{"p", texts[1], texts[23], texts[460]})); !slices.Equal(probes, want) {
		t.Errorf("probes (-got +want)\n-%q\n+%q", probes, want)
	}
}

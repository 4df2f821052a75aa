package privacy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// harmlessFields are the rest. Origin is written by importers, Interface is the operator's word, App and Service those of our own lists, History Zeek's letters; the others are
// numbers, or digests of what software a peer is.
var harmlessFields = []string{
	"Origin", "Interface", "VLAN", "VLANInner", "Tunnel", "TunnelID", "SrcPort", "DstPort", "Protocol", "InitiatorGuessed",
	"Start", "End", "EndReason", "FlowID", "Segment",
	"SrcPackets", "DstPackets", "SrcBytes", "DstBytes", "SrcFrameBytes", "DstFrameBytes", "SrcPayloadBytes", "DstPayloadBytes",
	"SrcTCPFlags", "DstTCPFlags", "ConnState", "History", "DstRTT", "SrcRTT", "SrcRetransmits", "DstRetransmits",
	"SrcOutOfOrder", "DstOutOfOrder", "SrcTTL", "DstTTL", "Response",
	"App", "AppSource", "Cut", "TLSVersion", "TLSCipher", "JA3", "JA3S", "JA4", "QUICVersion",
	"HTTPStatus", "HTTPStatuses", "DNSQTypes", "DNSRcodes", "DNSLatency", "HASSH", "HASSHServer",
	"EtherType", "Sampling", "AggregatedFlows", "SrcDSCP", "DstDSCP", "SrcECN", "DstECN",
	"SrcSizeBins", "DstSizeBins", "SrcSizeMin", "DstSizeMin", "SrcSizeMax", "DstSizeMax", "SrcSizeStd", "DstSizeStd",
	"SrcIATMin", "DstIATMin", "SrcIATMax", "DstIATMax", "SrcIATMean", "DstIATMean", "SrcIATStd", "DstIATStd", "FirstSizes", "FirstGaps",
	"SrcMSS", "DstMSS", "SrcZeroWindows", "DstZeroWindows", "ICMPErrors", "ICMPError",
	"Transactions", "TransactionMin", "TransactionMean", "TransactionMax", "PayloadEntropy", "PayloadPrintable",
	"Service", "Risks", "AppErrors", "TLSHandshake", "HTTPLatencies", "DNSLatencies",
}

// Each field of a record has its class, and each accessor gets at the field it is named for. Who adds a field to flow.Record has to say
// here what it tells.
func TestEveryFieldIsClassified(t *testing.T) {
	seen := map[string]int{}
	for _, n := range harmlessFields {
		seen[n]++
	}
	for _, d := range fields {
		seen[d.name]++
		if d.class == 0 {
			t.Errorf("%s is in the table and harmless", d.name)
		}
		var r flow.Record
		v := reflect.ValueOf(&r).Elem().FieldByName(d.name)
		if !v.IsValid() {
			t.Errorf("%s is no field of a record", d.name)
			continue
		}
		var got any
		switch {
		case d.addr != nil:
			got = d.addr(&r)
		case d.mac != nil:
			got = d.mac(&r)
		case d.str != nil:
			got = d.str(&r)
		case d.list != nil:
			got = d.list(&r)
		case d.epoch != nil:
			got = d.epoch(&r)
		}
		if got != v.Addr().Interface() {
			t.Errorf("the accessor of %s gets at another field", d.name)
		}
	}
	lists := 0
	for i := range reflect.TypeFor[flow.Record]().NumField() {
		f := reflect.TypeFor[flow.Record]().Field(i)
		if seen[f.Name] != 1 {
			t.Errorf("flow.Record.%s is classified %d times: add it to fields in fields.go or to harmlessFields here", f.Name, seen[f.Name])
		}
		delete(seen, f.Name)
		if f.Type == reflect.TypeFor[[]string]() {
			lists++
		}
		if k := f.Type; (k == reflect.TypeFor[flow.Addr]() || k == reflect.TypeFor[flow.MAC]() || k == reflect.TypeFor[[]string]()) && isHarmless(f.Name) {
			t.Errorf("flow.Record.%s of type %s is called harmless", f.Name, k)
		}
	}
	for n := range seen {
		t.Errorf("%s is no field of flow.Record any more", n)
	}
	if lists != listFields {
		t.Errorf("flow.Record has %d lists of texts, listsOf %d", lists, listFields)
	}
}

func isHarmless(name string) bool {
	for _, n := range harmlessFields {
		if n == name {
			return true
		}
	}
	return false
}

// fullRecord has something in every field that is not harmless: texts hold the word and the address.
func fullRecord(word, address string) *flow.Record {
	r := &flow.Record{}
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		text := word + " at " + address
		switch f := v.Field(i); f.Interface().(type) {
		case string:
			if !isHarmless(v.Type().Field(i).Name) {
				f.SetString(text)
			}
		case []string:
			f.Set(reflect.ValueOf([]string{text, word, address}))
		case flow.Addr:
			f.Set(reflect.ValueOf(flow.Addr{0x20, 1, 0xd, 0xb8, 15: 9}))
		case flow.MAC:
			f.Set(reflect.ValueOf(flow.MAC(0x0050c2000001)))
		}
	}
	r.CertNotBefore, r.CertNotAfter = 1700000001, 1800000001
	r.DNSQTypes, r.DNSRcodes = []uint16{1, 1, 1}, []uint16{0, 0, 0}
	return r
}

func TestPayloadFreeQuotesNothing(t *testing.T) {
	f := testFilter(t, sampleKey, Config{PayloadFree: true})
	r := fullRecord("secretary", "192.0.2.77")
	r.HTTPMethod, r.TLSALPN, r.AppVersion = "GET", "h2,secretary,http/1.1", "3.1.1"
	out := f.Record(r)
	v := reflect.ValueOf(out).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		s := fmt.Sprint(v.Field(i).Interface())
		if strings.Contains(s, "secretary") || strings.Contains(s, "192.0.2.77") {
			t.Errorf("%s quotes: %s", name, s)
		}
		if f := v.Field(i); f.Kind() == reflect.String && f.Len() > 0 && name != "HTTPMethod" && name != "TLSALPN" && name != "AppVersion" {
			t.Errorf("%s is %q", name, f.String())
		}
	}
	if out.HTTPMethod != "GET" || out.TLSALPN != "h2,http/1.1" || out.AppVersion != "3.1.1" {
		t.Errorf("words of protocols: %q, %q, %q", out.HTTPMethod, out.TLSALPN, out.AppVersion)
	}
	if len(out.DNSNames) != len(out.DNSQTypes) {
		t.Errorf("%d names for %d types", len(out.DNSNames), len(out.DNSQTypes))
	}
	if out.CertNotBefore%86400 != 0 || out.CertNotBefore == 0 {
		t.Errorf("certificate from %d", out.CertNotBefore)
	}
	if out.SrcIP != r.SrcIP || out.SrcMAC != r.SrcMAC {
		t.Error("addresses are not payload")
	}
	for _, m := range []string{"secretary", "SECRETARY", "GET "} {
		r := &flow.Record{HTTPMethod: m, TLSALPN: m, AppVersion: m}
		if out := f.Record(r); out.HTTPMethod+out.TLSALPN+out.AppVersion != "" {
			t.Errorf("%q: %q, %q, %q", m, out.HTTPMethod, out.TLSALPN, out.AppVersion)
		}
	}
}

// The flow goes on with its record: what Record returns shares nothing with it that changes, and the next segment gets the same pseudonyms.
func TestRecordStaysAsItIs(t *testing.T) {
	f := testFilter(t, sampleKey, Config{Addresses: AddressesAll, MACs: Hash, Names: Hash, Users: Hash})
	r, want := fullRecord("www.example.org", "192.0.2.77"), fullRecord("www.example.org", "192.0.2.77")
	first := string(f.Record(r).AppendJSON(nil))
	if !reflect.DeepEqual(r, want) {
		t.Errorf("the record was changed:\n%+v", r)
	}
	if second := string(f.Record(r).AppendJSON(nil)); second != first {
		t.Errorf("twice the same record (-got +want)\n-%s\n+%s", second, first)
	}
	g := testFilter(t, sampleKey, f.cfg) // another worker, the same key
	g.Record(fullRecord("other.example.org", "192.0.2.78"))
	if again := string(g.Record(r).AppendJSON(nil)); again != first {
		t.Errorf("another filter (-got +want)\n-%s\n+%s", again, first)
	}
	h := testFilter(t, otherKey, f.cfg)
	if other := string(h.Record(r).AppendJSON(nil)); other == first {
		t.Error("another key gives the same pseudonyms")
	}
	out := f.Record(r)
	if flow.CommunityID(out.SrcIP, out.DstIP, 1, 2, 6) == flow.CommunityID(r.SrcIP, r.DstIP, 1, 2, 6) {
		t.Error("the community id is that of the true addresses")
	}
	var none *Filter
	if none.Record(r) != r {
		t.Error("no filter, and another record")
	}
}

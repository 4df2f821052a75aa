package quality

import (
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// ends are a flow's addresses and ports as Zeek's logs have them: without the
// protocol.
func ends(row map[string]string) (pair, bool) {
	end := func(side string) netip.AddrPort {
		ip, _ := netip.ParseAddr(row["id."+side+"_h"])
		port, _ := strconv.ParseUint(row["id."+side+"_p"], 10, 16)
		return netip.AddrPortFrom(ip, uint16(port))
	}
	a, b := end("orig"), end("resp")
	return pairOf(0, a, b), a.IsValid() && b.IsValid()
}

// TestZeekFields: what the logs of Zeek's own tests tell of a connection is in
// its records.
func TestZeekFields(t *testing.T) {
	a := tally{name: "fields as Zeek's"}
	certificates := tally{name: "certificates as Zeek's"}
	for _, trace := range corpus.ZeekTraces(t) {
		all := records(t, trace.Path)
		ours := map[pair][]*flow.Record{}
		prints := map[string]*flow.Record{}
		for i := range all {
			k := keyOf(&all[i])
			k.proto = 0
			ours[k] = append(ours[k], &all[i])
			prints[all[i].CertSHA256] = &all[i]
		}
		for _, log := range trace.Logs {
			kind := strings.TrimSuffix(filepath.Base(log), ".log")
			rows := corpus.ZeekSet(t, log)
			for _, row := range rows {
				if kind == "x509" {
					checkCertificate(&certificates, trace.Name, row, prints)
				}
				for _, f := range zeekFields {
					if f.log == kind {
						checkField(&a, trace.Name, &f, row, ours)
					}
				}
			}
		}
	}
	for _, part := range slices.Sorted(maps.Keys(a.by)) {
		t.Logf("quality: fields as Zeek's: %-27s %6d of %6d", part, a.by[part][0], a.by[part][1])
	}
	a.report(t, 95, "testdata/zeek.tsv")
	certificates.report(t, 95, "testdata/zeek.tsv")
}

func checkField(a *tally, name string, f *zeekField, row map[string]string, ours map[pair][]*flow.Record) {
	value := row[f.column]
	k, ok := ends(row)
	if value == "" || !ok {
		return
	}
	want := value
	if f.want != nil {
		want = f.want(value, row)
	}
	if want == "" {
		return
	}
	var got []string
	for _, r := range ours[k] {
		got = append(got, f.in(r)...)
	}
	if len(ours[k]) == 0 {
		got = []string{"no such flow"}
	}
	same := slices.ContainsFunc(got, func(g string) bool {
		return g == want || f.ok != nil && f.ok(g, want)
	})
	slices.Sort(got)
	got = slices.Compact(got)
	a.check(f.log+" "+f.column, same, "%s\t%s %s: %q, here %.100q", name, f.log, f.column, want, got[:min(len(got), 4)])
}

// checkCertificate compares a certificate that we have seen too; of a chain,
// records have the first.
func checkCertificate(a *tally, name string, row map[string]string, prints map[string]*flow.Record) {
	if row["host_cert"] != "T" || row["client_cert"] == "T" || row["fingerprint"] == "" {
		return
	}
	r := prints[row["fingerprint"]]
	if r == nil {
		a.check("seen", false, "%s\tx509 %s is not seen", name, row["certificate.subject"])
		return
	}
	a.check("seen", true, "")
	for column, got := range map[string]string{"certificate.subject": r.CertSubject, "certificate.issuer": r.CertIssuer,
		"certificate.not_valid_before": strconv.FormatUint(r.CertNotBefore, 10), "certificate.not_valid_after": strconv.FormatUint(r.CertNotAfter, 10),
		"san.dns": strings.Join(r.CertNames, ",")} {
		want := row[column]
		if strings.HasPrefix(column, "certificate.not_") {
			want = seconds(want, nil)
		}
		same := strings.EqualFold(got, want) // short names of attributes are of any case
		if column == "san.dns" {
			same = strings.HasPrefix(want, got) || strings.HasPrefix(got, want) // 32 names; others than DNS come last
		}
		a.check(column, same, "%s\tx509 %s: %q, here %q", name, column, want, got)
	}
}

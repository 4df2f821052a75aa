package quality

import (
	"strings"
	"testing"
	"time"
)

// The report keeps real and generated traffic apart, names what was missed, and
// counts what came too late as missed.
func TestReport(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	hit := &Incident{Detector: "dns_tunnel", Severity: "high"}
	truth := func(family string) Truth {
		return Truth{Family: family, Kind: family, Actors: []string{"10.0.0.1"}, Start: at}
	}
	late := Finding{Truth: truth("dns_tunnel"), Hit: hit, Delay: 2 * time.Minute}
	late.Within = time.Minute
	evasive := Finding{Truth: truth("beacon"), Delay: -1}
	evasive.Evasion = "padding"
	outcomes := []Outcome{
		{Case: "a.pcap", Real: true, Findings: []Finding{{Truth: truth("scan"), Hit: hit, Delay: 30 * time.Second}, {Truth: truth("flood"), Delay: -1}}},
		{Case: "office with attacks, seed 1", Findings: []Finding{late, evasive}, Noise: []Incident{{Detector: "beacon", Severity: "high"}}},
		{Case: "quiet office, seed 1", PerDay: []int{0, 0, 1, 0}, HostDays: 4},
		{Case: "b.pcap", Real: true, Noise: []Incident{{Detector: "new_host", Severity: "medium"}}},
	}
	var b strings.Builder
	report(&b, outcomes, [2]string{"68.9 of 100", "MASE 0.8"})
	text := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"68.9 of 100", "MASE 0.8",
		"scan 1 1 1 1.000 0.21-1.00 30s 30s", "a.pcap: flood of 10.0.0.1 to : not found",
		"dns_tunnel 1 1 0 0.000 0.00-0.79 2m0s 2m0s", "found after 2m0s",
		"beacon, padding 1 0 0", "false, by detector: beacon 1",
		"precision 0.500: 1 right, 0 more about the same thing, 1 false",
		"median 0, 95th percentile 1, mean 0.250 (4 host-days)", "1 captures without a label", "new_host medium 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

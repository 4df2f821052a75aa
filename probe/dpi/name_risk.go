package dpi

import (
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// nameRisks judges the name of a host, from a hello, a request or a query.
func nameRisks(name string) (r flow.Risk) {
	if strings.Contains(name, "xn--") {
		r |= flow.RiskPunycodeIDN
	}
	if generated(name) {
		r |= flow.RiskSuspiciousDGADomain
	}
	return r
}

// Names longer than these carry data rather than name a host.
const (
	longName  = 100 // octets of a queried name
	longLabel = 48  // octets of one label; hexadecimal digests have at most 64, but not in queries
)

// queryRisks judges the name of a DNS query besides.
func queryRisks(name string) (r flow.Risk) {
	if strings.HasSuffix(name, ".arpa") {
		return 0
	}
	r = nameRisks(name)
	if len(name) > longName {
		r |= flow.RiskDNSSuspiciousTraffic
	}
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			label = 0
			continue
		case c == '\\':
			r |= flow.RiskInvalidCharacters
		}
		if label++; label > longLabel {
			r |= flow.RiskDNSSuspiciousTraffic
		}
	}
	return r
}

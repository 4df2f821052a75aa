package content

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed tls_risk.sql
var tlsRiskSQL string

//go:embed tls_risk_windows.sql
var tlsRiskWindowsSQL string

// TLSRiskConfig are the thresholds of tls_risk.
type TLSRiskConfig struct {
	InternalCA  []string `conf:"internal_ca" help:"parts of the issuer's name of certificates that are trusted here, such as O=Example Corp"`
	MaxClients  int      `conf:"max_clients" help:"clients of a server in an hour up to which it is rare"`
	YoungDays   int      `conf:"young_days" help:"age of a certificate below which it is young; 0: never"`
	LongDays    int      `conf:"long_days" help:"validity from which a certificate is long-lived"`
	HistoryDays int      `conf:"history_days" help:"days for which a certificate has to be known to be nothing new"`
}

// newTLSRisk looks for certificates, versions and ciphers that are a risk.
func newTLSRisk(own detect.Own, c TLSRiskConfig) detect.Detector {
	return detect.New(detect.Spec[tlsServer]{
		Info: detect.Info{
			Name: "tls_risk", Version: 1, Title: "Certificates and versions of TLS that are a risk", Techniques: []string{"T1573"},
			Length: time.Hour, Step: time.Hour, Gap: 7 * 24 * time.Hour, Rollups: []string{"first_seen"},
			Doc: `Inside clients talk TLS to a server with a certificate that proves little (signed by itself, expired, for another name, young, long-lived), with a version before TLS 1.2 or a broken cipher.
One incident of a server. Medium if it is outside, its certificate is signed by itself, few clients know it, and two more of these hold: no or another server name, young, long-lived, new to the site: what remote control
brings along. Low for other faults of servers outside, info for old versions, weak ciphers and expired certificates of servers inside. The magnitude is the number of clients. The certificate of TLS 1.3 is not seen by anybody on the wire.`,
			Controls: []string{
				"certificates of the own authority (internal_ca)",
				"servers inside that sign for themselves, as printers and appliances do",
				"certificates that are merely young or long-lived",
				"certificates for another name where the client asked for an address",
				"networks of the roles scanner, monitor and lab, and sources in detect.exempt",
				"known to the site for history_days: low at most",
			},
			Parameters: []detect.Parameter{
				{Name: "internal_ca", Value: strings.Join(c.InternalCA, "; "), Doc: "parts of issuers' names that are trusted here"},
				{Name: "max_clients", Value: fmt.Sprint(c.MaxClients), Doc: "clients in an hour up to which a server is rare"},
				{Name: "young_days", Value: fmt.Sprint(c.YoungDays), Doc: "age below which a certificate is young"},
				{Name: "long_days", Value: fmt.Sprint(c.LongDays), Doc: "validity from which it is long-lived; public authorities were bound to 825 days in 2018, to 398 in 2020"},
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days for which a certificate has to be known to be nothing new"},
			},
		},
		SQL: detect.Compose(tlsRiskSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("internal", coded(c.InternalCA), "young_days", detect.Number(c.YoungDays), "long_days", detect.Number(c.LongDays),
				"history_days", detect.Number(c.HistoryDays), "one", "0", "server", "", "port", "0", "certificate", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *tlsServer) detect.Verdict { return r.judge(a, c) },
		Find:  detect.Compose(tlsRiskWindowsSQL),
	})
}

// tlsServer is a row of the statement: a server and its certificate.
type tlsServer struct {
	Site         string    `ch:"site"`
	Server       string    `ch:"server"`
	Port         uint16    `ch:"port"`
	Certificate  string    `ch:"certificate"`
	Outside      bool      `ch:"outside"`
	Clients      uint64    `ch:"clients"`
	Connections  uint64    `ch:"connections"`
	Bytes        uint64    `ch:"bytes"`
	Client       string    `ch:"client"`
	Names        string    `ch:"names"`
	Subject      string    `ch:"subject"`
	Issuer       string    `ch:"issuer"`
	SelfSigned   uint8     `ch:"self_signed"`
	Obsolete     uint8     `ch:"obsolete"`
	Weak         uint8     `ch:"weak"`
	Expired      uint8     `ch:"expired"`
	Mismatch     uint8     `ch:"mismatch"`
	Nameless     uint8     `ch:"nameless"`
	Version      uint16    `ch:"version"`
	Cipher       uint16    `ch:"cipher"`
	Fingerprints string    `ch:"fingerprints"`
	Young        uint8     `ch:"young"`
	Lasting      uint8     `ch:"lasting"`
	AgeDays      float64   `ch:"age_days"`
	ValidDays    float64   `ch:"valid_days"`
	Established  uint8     `ch:"established"`
	Fresh        uint8     `ch:"fresh"`
	Fault        float64   `ch:"fault"`
	Rarity       float64   `ch:"rarity"`
	First        time.Time `ch:"first"`
	Last         time.Time `ch:"last"`
	FlowIDs      []string  `ch:"flow_ids"`
}

// severity is how much the faults matter; empty: not at all.
func (r tlsServer) severity(c TLSRiskConfig) alert.Severity {
	if !r.Outside {
		if r.Obsolete+r.Weak > 0 || r.Expired > 0 && r.SelfSigned == 0 {
			return alert.Info
		}
		return ""
	}
	strange := max(r.Nameless, r.Mismatch) + r.Young + r.Lasting + r.Fresh
	switch {
	case r.SelfSigned > 0 && strange >= 2 && r.Clients <= uint64(c.MaxClients) && r.Established == 0:
		return alert.Medium
	case r.SelfSigned+r.Obsolete+r.Weak+r.Expired+r.Mismatch > 0:
		return alert.Low
	}
	return ""
}

func (r tlsServer) judge(a *alert.Alert, c TLSRiskConfig) detect.Verdict {
	a.Severity = r.severity(c)
	if a.Severity == "" {
		return detect.Quiet
	}
	where := fmt.Sprintf("%s port %d", r.Server, r.Port)
	var faults []string
	say := func(is uint8, format string, args ...any) {
		if is > 0 {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	say(r.SelfSigned, "its certificate is signed by itself: %.120s", r.Subject)
	say(r.Expired, "its certificate was not valid at the time (%.0f days old, valid for %.0f)", r.AgeDays, r.ValidDays)
	say(r.Mismatch, "its certificate is for another name than %.120s", r.Names)
	say(r.Obsolete, "%s, which is older than TLS 1.2", version(r.Version))
	say(r.Weak, "a broken cipher suite, 0x%04x", r.Cipher)
	main := faults[0]
	say(r.Young, "the certificate is %.1f days old; below %d is young", r.AgeDays, c.YoungDays)
	say(r.Lasting, "the certificate is valid for %.0f days; more than %d is long", r.ValidDays, c.LongDays)
	say(r.Nameless, "no client named the server")
	say(r.Fresh, "the certificate is new to the site")
	a.Title = fmt.Sprintf("TLS to %s: %s", where, main)
	a.Victim, a.Entities = r.Server, detect.Entities("server", r.Server, "service", detect.Service(6, r.Port), "site", r.Site)
	if r.Clients == 1 {
		a.Actor = r.Client
	}
	a.Reasons = append(faults, fmt.Sprintf("%d connections of %d clients, %s; %d clients or fewer are rare", r.Connections, r.Clients, detect.Size(float64(r.Bytes)), c.MaxClients))
	if r.Fingerprints != "" {
		a.Reasons = append(a.Reasons, "clients' JA4 "+r.Fingerprints)
	}
	if r.Established > 0 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("the certificate has been known for more than %d days", c.HistoryDays))
	}
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Clients)
	a.SubScores = map[string]float64{"fault": r.Fault, "rarity": r.Rarity}
	a.Score, a.Confidence = max(0.01, detect.Bounded(0.7*r.Fault+0.3*r.Rarity)), 0.8
	a.Unless = []string{"a certificate of a public authority or of detect.content.tls_risk.internal_ca, valid, for the name that was asked for", "TLS 1.2 or newer",
		"clients in networks of the roles scanner, monitor or lab, or in detect.exempt"}
	p := a.EvidenceParams
	p["one"], p["server"], p["port"], p["certificate"], p["site"] = "1", r.Server, detect.Number(r.Port), r.Certificate, r.Site
	return detect.Raise
}

// version names a version of TLS as on the wire.
func version(v uint16) string {
	switch v {
	case 0x0301:
		return "TLS 1.0"
	case 0x0302:
		return "TLS 1.1"
	case 0x0300:
		return "SSL 3.0"
	case 0x0002:
		return "SSL 2.0"
	case 0xfeff:
		return "DTLS 1.0"
	}
	return fmt.Sprintf("version 0x%04x", v)
}

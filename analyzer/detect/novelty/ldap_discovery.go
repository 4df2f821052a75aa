package novelty

import (
	_ "embed"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

//go:embed ldap_discovery.sql
var ldapDiscoverySQL string

//go:embed ldap_discovery_windows.sql
var ldapDiscoveryWindowsSQL string

// LdapDiscoveryConfig are the thresholds of ldap_discovery.
type LdapDiscoveryConfig struct {
	MinBytes kit.Bytes `conf:"min_bytes" help:"octets that an inside host reads from one directory server in an hour"`
	MinRatio float64   `conf:"min_ratio" help:"least ratio of octets read to octets asked"`
}

// newLdapDiscovery looks for: a directory is read out.
func newLdapDiscovery(own detect.Own, cfg LdapDiscoveryConfig) detect.Detector {
	info := detect.Info{
		Name: "ldap_discovery", Version: 1, Title: "A directory is read out", Techniques: []string{"T1087.002", "T1069.002", "T1018"},
		Rollups: []string{"flows_1h"},
		Doc: `An inside host gets far more from a directory (LDAP) than it asks for, and four times as much as in any hour of its last 30 days; or its searches are those of tools that look for ways in
(service accounts, delegation, all computers or administrators, passwords). High for such searches, medium else. The magnitude is the octets read.`,
		Controls: []string{
			"hosts that read as much before: directory synchronisation, address books",
			"networks of the roles server, mail, dc, directory, scanner and monitor",
			"encrypted LDAP has no searches to see: only volume counts",
		},
		Parameters: []detect.Parameter{
			{Name: "min_bytes", Value: cfg.MinBytes.String(), Doc: "a login of Windows reads some 20 kB; one search for all users of a domain of 100 some 250 kB"},
			{Name: "min_ratio", Value: detect.Decimal(cfg.MinRatio), Doc: "read to asked"},
		},
	}
	return plain(own, info, ldapDiscoverySQL, ldapDiscoveryWindowsSQL, detect.Params{"min_bytes": detect.Number(int64(cfg.MinBytes)), "min_ratio": detect.Decimal(cfg.MinRatio), "suspicious": suspiciousSearches}, nil, func(a *alert.Alert, c *finding) detect.Verdict {
		severity, confidence := alert.High, 0.8
		if c.Learning {
			severity, confidence = alert.Medium, 0.5
		}
		a.Reasons = c.Details
		a.Unless = []string{"less than " + cfg.MinBytes.String() + " read in the hour", "as much read in an hour before", "the role dc, server, directory, mail, monitor or scanner"}
		return c.raise(a, severity, confidence, c.Actor+" reads out the directory of "+c.Victim, "actor", c.Actor, "victim", c.Victim)
	})
}

// suspiciousSearches are filters that tools for finding ways into a domain ask:
// service accounts and their tickets, delegation, preauthentication switched off,
// everybody, administrators, passwords.
const suspiciousSearches = `serviceprincipalname=\*|samaccounttype=80530636[89]|useraccountcontrol:1\.2\.840\.113556\.1\.4\.803:=(4194304|524288|16777216|65536|8192)|admincount=1|msds-allowedtodelegateto|ms-mcs-admpwd|objectcategory=(person|computer|user)\)?$|\(objectclass=(user|computer|group|trusteddomain)\)$|samaccountname=\*`

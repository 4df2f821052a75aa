package novelty

import (
	_ "embed"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed clear_credentials.sql
var clearCredentialsSQL string

//go:embed clear_credentials_windows.sql
var clearCredentialsWindowsSQL string

// newClearCredentials looks for: passwords in the clear.
func newClearCredentials(own detect.Own) detect.Detector {
	info := detect.Info{
		Name: "clear_credentials", Version: 1, Title: "Passwords in the clear", Techniques: []string{"T1040", "T1552"},
		Gap: 7 * 24 * time.Hour,
		Doc: `Clients log in at a server with a password in the clear (the probe saw it; it is not stored): FTP, Telnet, POP3, IMAP, SMTP, HTTP Basic, LDAP simple bind, SNMP communities and the like. Low;
medium when it crosses the border of the site. One incident for a server and protocol; the magnitude is the number of clients.`,
		Controls: []string{
			"anonymous logins",
			"networks of the roles scanner and lab",
			"flows without an answer",
		},
	}
	return plain(own, info, clearCredentialsSQL, clearCredentialsWindowsSQL, detect.Params{"bit": clearTextBit}, detect.Params{"bit": clearTextBit}, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.Low
		if c.Learning {
			severity = alert.Medium
		}
		a.Reasons = c.Details
		a.Unless = []string{"encrypted logins", "the role lab or scanner for the clients' network"}
		return c.raise(a, severity, 0.9, "Passwords go to "+c.Victim+" in the clear, by "+c.Value, "victim", c.Victim, "service", c.Value)
	})
}

// clearTextBit is the risk clear_text_credentials, see risk_names of flows.
const clearTextBit = "36"

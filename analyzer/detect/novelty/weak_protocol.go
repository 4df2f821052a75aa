package novelty

import (
	_ "embed"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed weak_protocol.sql
var weakProtocolSQL string

//go:embed weak_protocol_windows.sql
var weakProtocolWindowsSQL string

// newWeakProtocol looks for: an outdated protocol is spoken.
func newWeakProtocol(own detect.Own) detect.Detector {
	info := detect.Info{
		Name: "weak_protocol", Version: 1, Title: "An outdated protocol is spoken", Techniques: []string{"T1210", "T1562.010"},
		Gap: 7 * 24 * time.Hour,
		Doc: `A server speaks SMB 1, SSL 3, TLS 1.0 or TLS 1.1. Low; medium for SMB 1 with an end outside. One incident for a server and protocol; the magnitude is the number of clients.`,
		Controls: []string{
			"outside TLS servers, which are not ours to mend",
			"networks of the roles lab and scanner",
			"hellos without an answer",
		},
	}
	return plain(own, info, weakProtocolSQL, weakProtocolWindowsSQL, detect.Params{"smb": smbInsecureBit}, nil, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.Low
		if c.Value == "SMB 1" && c.Learning {
			severity = alert.Medium
		}
		a.Reasons = append([]string{c.Value + " was agreed on"}, c.Details...)
		a.Unless = []string{"a newer version was agreed on", "the role lab for the server's network"}
		return c.raise(a, severity, 0.9, c.Victim+" speaks "+c.Value, "victim", c.Victim, "protocol", c.Value)
	})
}

// smbInsecureBit is the risk smb_insecure_version, see risk_names of flows.
const smbInsecureBit = "20"

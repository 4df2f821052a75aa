package novelty

import (
	_ "embed"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed probe_silence.sql
var probeSilenceSQL string

//go:embed probe_silence_windows.sql
var probeSilenceWindowsSQL string

// newProbeSilence looks for: a probe has fallen silent.
func newProbeSilence(own detect.Own) detect.Detector {
	info := detect.Info{
		Name: "probe_silence", Version: 1, Title: "A probe has fallen silent", Techniques: []string{"T1562"},
		Doc: `A probe whose ledger had seconds in each of the three hours before has none in this hour, while other probes have. Medium, low when it had ended its stream. The magnitude is the minutes
since. An only probe that falls silent leaves nothing to judge: watch the health figures of the collector for that.`,
		Controls: []string{
			"probes that were not heard all three hours before: captures that were read, probes that come and go",
			"hours in which no probe is heard",
		},
	}
	return plain(own, info, probeSilenceSQL, probeSilenceWindowsSQL, nil, nil, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.Medium
		if c.Learning {
			severity = alert.Low
		}
		a.Reasons = c.Details
		a.Unless = []string{"a second of its ledger in the hour", "no other probe was heard either"}
		return c.raise(a, severity, 0.8, "Probe "+c.Actor+" has fallen silent", "probe", c.Actor)
	})
}

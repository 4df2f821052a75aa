package notify

import "github.com/tapwatch/tapwatch/analyzer/alert"

// growth is how many times larger an alert must have become to be worth another
// message, when its severity is the same: an order of magnitude.
const growth = 10

// Reason is why a message is sent.
type Reason string

// The reasons, as the messages have them.
const (
	ReasonNew      Reason = "new"              // the sink has not been told of this alert
	ReasonSeverity Reason = "severity_changed" // since what the sink was told last
	ReasonGrowth   Reason = "grown_tenfold"    // in magnitude, since what the sink was told last
	ReasonGone     Reason = "withdrawn"        // what the sink was told has not been confirmed
	notDue         Reason = ""
)

// told is what a sink knows about an alert: the newest revision that was
// delivered or given up.
type told struct {
	revision  uint32 // 0: nothing
	severity  alert.Severity
	magnitude float64
}

// due says why the current revision of an alert is to be sent to a sink that
// wants the rank min and above, or notDue. Something that a sink has been told of and
// that then falls below min, or is withdrawn, is told once more.
func due(revision uint32, severity alert.Severity, magnitude float64, last told, min int) Reason {
	if revision <= last.revision {
		return notDue
	}
	wanted := severity.Rank() >= min
	switch {
	case last.revision == 0:
		if wanted {
			return ReasonNew
		}
	case severity != last.severity:
		if severity == alert.Withdrawn && last.severity.Rank() >= min {
			return ReasonGone
		}
		if wanted || last.severity.Rank() >= min {
			return ReasonSeverity
		}
	case wanted && last.magnitude > 0 && magnitude >= growth*last.magnitude:
		return ReasonGrowth
	}
	return notDue
}

package decode

import "github.com/tapwatch/tapwatch/proto/flow"

// Verdict says what became of a frame. Every value but OK is a loss that the
// caller counts under String.
type Verdict uint8

const (
	OK          Verdict = iota // the Packet is filled and belongs to a flow
	NonIP                      // no IP packet inside
	Malformed                  // headers contradict each other or the length
	Truncated                  // captured too short to find the flow key
	LinkType                   // a link type this package does not know
	Unsupported                // nested deeper than is looked into
	Verdicts                   // number of verdicts, for arrays of counters
)

// String is the name of the loss as the ledger spells it; "" for OK.
func (v Verdict) String() string {
	switch v {
	case NonIP:
		return flow.LossNonIP
	case Malformed:
		return flow.LossMalformed
	case Truncated:
		return flow.LossTruncated
	case LinkType:
		return flow.LossLinkType
	case Unsupported:
		return flow.LossUnsupported
	}
	return ""
}

// short is the verdict for a header of which need octets are wanted where the
// wire had wire octets: cut by the capture, or never there.
func short(need, wire int) Verdict {
	if wire >= need {
		return Truncated
	}
	return Malformed
}

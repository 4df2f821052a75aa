package alert

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// gap is Gap or its default.
func (a *Alert) gap() time.Duration {
	if a.Gap <= 0 {
		return DefaultGap
	}
	return a.Gap
}

// near says whether found belongs to the episode a: the same key, and no more
// than the gap between the two in traffic time.
func (a *Alert) near(found *Alert) bool {
	return found.Start.Sub(a.End) <= found.gap() && a.Start.Sub(found.End) <= found.gap()
}

// merge returns the episode a with what was found in a window: the union of the
// times, and everything else of whichever of the two is stronger. What takes the
// place of an alert that was withdrawn is all there is.
func (a *Alert) merge(found *Alert) Alert {
	out := *a
	same := a.WindowStart.Equal(found.WindowStart) && a.WindowEnd.Equal(found.WindowEnd)
	if a.Withdrawn || same || stronger(found, a) {
		out = *found
		out.ID, out.Revision, out.Raised, out.Updated, out.SuppressedBy = a.ID, a.Revision, a.Raised, a.Updated, a.SuppressedBy
	}
	if !a.Withdrawn {
		out.Start, out.End = earlier(a.Start, found.Start), later(a.End, found.End)
	}
	out.Withdrawn = false
	return out
}

// stronger orders by severity, score and size; of equals the earlier window is
// stronger, so that the order in which windows are judged does not matter.
func stronger(x, y *Alert) bool {
	return cmp.Or(cmp.Compare(x.Severity.Rank(), y.Severity.Rank()), compare(x.Score, y.Score), compare(x.Magnitude, y.Magnitude), y.WindowStart.Compare(x.WindowStart)) > 0
}

// tolerance hides that sums of floating point depend on the order of rows.
const tolerance = 1e-9

func compare(x, y float64) int {
	if math.Abs(x-y) <= tolerance*max(1, math.Abs(x), math.Abs(y)) {
		return 0
	}
	return cmp.Compare(x, y)
}

// equal compares everything but identity, revision and wall clock.
func (a *Alert) equal(b *Alert) bool {
	return a.Detector == b.Detector && a.Version == b.Version && a.Title == b.Title && a.Severity == b.Severity &&
		sameFloat(a.Score, b.Score) && sameFloat(a.Confidence, b.Confidence) && sameFloat(a.Magnitude, b.Magnitude) && sameFloat(a.Completeness, b.Completeness) &&
		slices.Equal(a.Techniques, b.Techniques) && a.Actor == b.Actor && a.Victim == b.Victim && slices.Equal(a.Entities, b.Entities) &&
		a.Start.Equal(b.Start) && a.End.Equal(b.End) && a.WindowStart.Equal(b.WindowStart) && a.WindowEnd.Equal(b.WindowEnd) &&
		maps.EqualFunc(a.SubScores, b.SubScores, sameFloat) && slices.Equal(a.Reasons, b.Reasons) && slices.Equal(a.Unless, b.Unless) &&
		a.EvidenceSQL == b.EvidenceSQL && maps.Equal(a.EvidenceParams, b.EvidenceParams) && a.Baseline == b.Baseline &&
		slices.Equal(a.FlowIDs, b.FlowIDs) && a.Provisional == b.Provisional && slices.Equal(a.Missing, b.Missing) &&
		a.Withdrawn == b.Withdrawn && a.SuppressedBy == b.SuppressedBy && slices.Equal(a.Related, b.Related)
}

func sameFloat(x, y float64) bool {
	return math.IsNaN(x) && math.IsNaN(y) || compare(x, y) == 0 && math.IsNaN(x) == math.IsNaN(y)
}

func earlier(x, y time.Time) time.Time {
	if y.Before(x) {
		return y
	}
	return x
}

func later(x, y time.Time) time.Time {
	if y.After(x) {
		return y
	}
	return x
}

// join is what Key and the statement that looks alerts up agree on.
func join(detector string, entities []string) string {
	return detector + "\x00" + strings.Join(entities, "\x00")
}

package quality

import (
	"cmp"
	"slices"
	"time"
)

// Finding is what became of one Truth.
type Finding struct {
	Truth
	Hit   *Incident     // nil: missed
	Delay time.Duration // from Start to when it was raised, in traffic time; negative: not measured
	Rank  int           // of Hit by score among all incidents of its detector in the part
	Twice []Incident    // further incidents for the same thing
	False []Incident    // of a harmless one: what was raised about it
}

// Found says whether the truth was found, and in time.
func (f Finding) Found() bool {
	return f.Hit != nil && (f.Within == 0 || f.Delay <= f.Within)
}

// Outcome is what became of one case.
type Outcome struct {
	Case     string
	Real     bool
	Findings []Finding
	Related  []Incident // serious ones about an attacker or victim, of another family
	Noise    []Incident // serious ones about nothing that is known
	Low      []Incident // all others
	All      []Incident
	HostDays float64 // inside hosts by days with flows
	PerDay   []int   // serious incidents about nothing known, of each host-day that has traffic
	Rows     uint64
	Queries  uint64 // names asked of DNS
}

// lateAnswer is how long after the end of what it is about an incident may begin.
const lateAnswer = time.Hour

// about says whether an incident can be an answer to t, whatever its family.
func (t Truth) about(i Incident) bool {
	if !t.Start.IsZero() && i.End.Before(t.Start) || !t.End.IsZero() && i.Start.After(t.End.Add(lateAnswer)) {
		return false
	}
	if len(t.Actors) > 0 {
		return i.names(i.Actor, t.Actors)
	}
	return len(t.Victims) == 0 || i.names(i.Victim, t.Victims)
}

// touches says whether an incident names anyone who is part of t.
func (t Truth) touches(i Incident) bool {
	if !t.Start.IsZero() && i.End.Before(t.Start) || !t.End.IsZero() && i.Start.After(t.End.Add(lateAnswer)) {
		return false
	}
	return i.names(i.Actor, t.Actors) || i.names(i.Victim, t.Victims) || i.names(i.Actor, t.Victims) || i.names(i.Victim, t.Actors)
}

// match tells which incidents are answers to what, and which to nothing.
func match(truths []Truth, incidents []Incident) Outcome {
	out := Outcome{All: incidents}
	used := make([]bool, len(incidents))
	for _, t := range truths {
		f := Finding{Truth: t, Delay: -1}
		var fits []int
		for n, i := range incidents {
			switch {
			case t.Harmless && i.Serious() && (len(t.Actors)+len(t.Victims) == 0 || t.touches(i)):
				f.False = append(f.False, i)
				used[n] = true
			case !t.Harmless && finds(i.Detector, t.Family) && t.about(i):
				fits = append(fits, n)
			}
		}
		// Among answers the most serious counts, then the earliest.
		slices.SortStableFunc(fits, func(a, b int) int {
			x, y := incidents[a], incidents[b]
			return cmp.Or(cmp.Compare(rank(y.Severity), rank(x.Severity)), x.Start.Compare(y.Start), cmp.Compare(x.ID, y.ID))
		})
		for k, n := range fits {
			if k == 0 {
				f.Hit, f.Rank = &incidents[n], 1
				for _, i := range incidents {
					if i.Detector == f.Hit.Detector && i.Score > f.Hit.Score {
						f.Rank++
					}
				}
			} else if incidents[n].Serious() && !used[n] {
				f.Twice = append(f.Twice, incidents[n])
			}
			used[n] = true
		}
		out.Findings = append(out.Findings, f)
	}
	for n, i := range incidents {
		switch {
		case used[n]:
		case !i.Serious():
			out.Low = append(out.Low, i)
		case slices.ContainsFunc(truths, func(t Truth) bool { return !t.Harmless && t.touches(i) }):
			out.Related = append(out.Related, i)
		default:
			out.Noise = append(out.Noise, i)
		}
	}
	return out
}

func rank(severity string) int {
	return slices.Index([]string{"info", "low", "medium", "high", "critical"}, severity)
}

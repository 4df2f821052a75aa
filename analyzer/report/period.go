package report

import (
	"fmt"
	"time"
)

// Period is a day, week or month of a time zone. End is not part of it.
type Period struct {
	Kind       string
	Start, End time.Time
}

// PeriodOf returns the period of a kind that t is in, in t's location.
func PeriodOf(kind string, t time.Time) (Period, error) {
	y, m, d := t.Date()
	p := Period{Kind: kind}
	switch kind {
	case Daily:
		p.Start, p.End = midnight(y, m, d, t.Location()), midnight(y, m, d+1, t.Location())
	case Weekly:
		d -= (int(t.Weekday()) + 6) % 7 // from Monday
		p.Start, p.End = midnight(y, m, d, t.Location()), midnight(y, m, d+7, t.Location())
	case Monthly:
		p.Start, p.End = midnight(y, m, 1, t.Location()), midnight(y, m+1, 1, t.Location())
	default:
		return p, fmt.Errorf("report: kind %q is none of daily, weekly, monthly", kind)
	}
	return p, nil
}

// midnight is the first moment of a day, also where the clock is put forward at
// midnight and there is no 00:00.
func midnight(y int, m time.Month, d int, loc *time.Location) time.Time {
	t := time.Date(y, m, d, 0, 0, 0, 0, loc)
	if noon := time.Date(y, m, d, 12, 0, 0, 0, loc); t.Day() != noon.Day() {
		t = t.Add(time.Hour)
	}
	return t
}

// Next is the period that follows p.
func (p Period) Next() Period {
	n, _ := PeriodOf(p.Kind, p.End.Add(12*time.Hour)) // not at a border that a change of the clock has moved
	return n
}

// Name names the report: daily-2026-11-01.
func (p Period) Name() string {
	if p.Kind == Monthly {
		return p.Kind + "-" + p.Start.Format("2006-01")
	}
	return p.Kind + "-" + p.Start.Format(time.DateOnly)
}

// slots is how many slots of a length the period has, rounded up.
func (p Period) slots(length time.Duration) int {
	return int((p.End.Sub(p.Start) + length - 1) / length)
}

// rank is the place, from 1 for the busiest, of the slot that is the 95th
// percentile of n: 5 % of all slots, idle ones included, are busier.
func rank(n int) int { return n/20 + 1 }

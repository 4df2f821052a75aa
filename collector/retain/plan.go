package retain

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// Partition is a day or month of a table.
type Partition struct {
	Table string
	Name  string // YYYYMMDD or YYYYMM
	Bytes int64  // on disk
	Rows  uint64
	Quiet time.Duration // since anything was written, or merged
}

// settling is how long a partition must have been quiet to go: a row that has
// just been written may not stand in the account of what was received yet.
const settling = time.Hour

// span is the first day of the partition and the day after its last one; false
// where its name is no date.
func (p Partition) span() (first, after time.Time, ok bool) {
	if _, err := strconv.Atoi(p.Name); err != nil {
		return first, after, false
	}
	switch len(p.Name) {
	case 8:
		first, err := time.Parse("20060102", p.Name)
		return first, first.AddDate(0, 0, 1), err == nil
	case 6:
		first, err := time.Parse("200601", p.Name)
		return first, first.AddDate(0, 1, 0), err == nil
	}
	return first, after, false
}

// Reasons of a drop.
const (
	ByAge    = "age"    // its time is over
	ByBudget = "budget" // there is no room for it
)

// Drop is a partition to be dropped, and why.
type Drop struct {
	Partition
	Reason string
}

// situation is what a plan is made of.
type situation struct {
	now        time.Time
	rules      []rule // finest first: budgets take from the first that has something
	partitions []Partition
	received   map[time.Time]time.Time // of each day, when its newest flow was
	held       func(first, after time.Time) bool
	// summed says whether all that is to be made of a day of flows has been.
	summed   func(first, after time.Time) bool
	excess   int64 // bytes that must go, 0 none
	settling time.Duration
}

// rule is how long a table keeps what it has.
type rule struct {
	table string
	keep  time.Duration
	least time.Duration // that a budget leaves
	raw   bool          // others are made of it
}

// plan says what has to go: what is too old, and, of the finest table first, the
// oldest as long as there is an excess. What is held, and raw that has not been
// summed up yet, stays. The second result is the excess that is left.
func plan(s situation) ([]Drop, int64) {
	var drops []Drop
	excess := s.excess
	for _, r := range s.rules {
		type candidate struct {
			Partition
			age time.Duration
		}
		var list []candidate
		for _, p := range s.partitions {
			if p.Table != r.table {
				continue
			}
			first, after, ok := p.span()
			if !ok || p.Quiet < s.settling || s.held(first, after) || r.raw && !s.summed(first, after) {
				continue
			}
			list = append(list, candidate{p, s.age(p, first, after)})
		}
		slices.SortFunc(list, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(b.age, a.age), cmp.Compare(a.Name, b.Name))
		})
		for _, c := range list {
			switch {
			case c.age > r.keep:
				drops = append(drops, Drop{c.Partition, ByAge})
			case excess > 0 && c.age > r.least:
				drops = append(drops, Drop{c.Partition, ByBudget})
			default:
				continue
			}
			excess -= c.Bytes
		}
	}
	return drops, max(excess, 0)
}

// age is the time since the newest row of a partition was received; where
// nothing is known of its days, since it was written.
func (s *situation) age(p Partition, first, after time.Time) time.Duration {
	var newest time.Time
	for d := first; d.Before(after); d = d.AddDate(0, 0, 1) {
		if t := s.received[d]; t.After(newest) {
			newest = t
		}
	}
	if newest.IsZero() {
		return p.Quiet
	}
	return s.now.Sub(newest)
}

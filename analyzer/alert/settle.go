package alert

import (
	"context"
	"slices"
	"time"
)

// Judged is a window that a detector has judged. What it found in it before, and
// did not find now, is gone; with it goes what older versions found in windows
// that began within the same Step.
type Judged struct {
	Detector   string
	Version    uint16
	Start, End time.Time
	Step       time.Duration
}

// Raised is what became of the alerts given to Settle.
type Raised struct {
	Alerts    []Alert // as they stand in the table now, one for each that was touched
	New       int     // episodes that began
	Changed   int     // episodes with a new revision
	Withdrawn int     // of them, those of which nothing is left
}

// Raise is Settle for findings alone: nothing is taken back.
func (s *Store) Raise(ctx context.Context, found []Alert) (Raised, error) {
	return s.Settle(ctx, nil, found)
}

// Settle stores what detectors found, and takes back what the judged windows do
// not hold any more. An alert with the key of a stored one, no further from it in
// traffic time than its Gap, becomes part of that episode and keeps its id; the
// episode gets a new revision only if that changes it, so storing the same again
// writes nothing. Otherwise a new episode begins, named after its key and the
// start of its window. An episode of which no window is left is withdrawn.
// Alerts of earlier windows are to be given first. The alerts are stored by one
// insert, then their findings by another: cut short between the two, the same
// call completes it. All judged windows are of one detector.
func (s *Store) Settle(ctx context.Context, judged []Judged, found []Alert) (Raised, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	said, err := s.said(ctx, judged, found)
	if err != nil || len(found) == 0 && len(said) == 0 {
		return Raised{}, err
	}
	e := episodes{byKey: map[string][]*Alert{}, byID: map[string]*Alert{}, before: map[string]Alert{}}
	if err := s.near(ctx, found, said, &e); err != nil {
		return Raised{}, err
	}
	fresh := map[place]*Alert{} // what the windows say now
	for i := range found {
		f := normal(found[i])
		episode := e.place(&f)
		at := place{episode.ID, f.WindowStart.Unix(), f.WindowEnd.Unix()}
		if other := fresh[at]; other != nil {
			both := other.merge(&f)
			if stronger(other, &f) {
				both = f.merge(other)
			}
			f = both
		}
		f.ID = episode.ID
		fresh[at] = &f
	}
	gone := map[place]finding{}
	for at, old := range said {
		if _, still := fresh[at]; !still && replaced(judged, old) {
			gone[at] = old
		}
	}
	if err := s.again(ctx, &e, said, fresh, gone); err != nil {
		return Raised{}, err
	}
	r, err := s.write(ctx, &e)
	if err != nil {
		return Raised{}, err
	}
	return r, s.record(ctx, said, fresh, gone)
}

// Rewrite reads the newest revisions of these alerts, has change alter each, and
// stores those for which it returns true as new revisions, without the hook of
// Before. It returns how many.
func (s *Store) Rewrite(ctx context.Context, ids []string, change func(*Alert) bool) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := s.Get(ctx, ids)
	if err != nil {
		return 0, err
	}
	var write []*Alert
	now := s.stamp()
	for i := range list {
		if change(&list[i]) {
			list[i].Revision++
			list[i].Updated = now
			write = append(write, &list[i])
		}
	}
	return len(write), s.insert(ctx, write)
}

func (s *Store) stamp() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// episodes are those that a Settle may touch, and how they were before.
type episodes struct {
	byKey   map[string][]*Alert
	byID    map[string]*Alert
	before  map[string]Alert // by id; Revision 0: new
	touched []*Alert
}

func (e *episodes) add(a *Alert) {
	if e.byID[a.ID] == nil {
		e.byID[a.ID] = a
		e.byKey[a.Key()] = append(e.byKey[a.Key()], a)
	}
}

// touch remembers how an episode was.
func (e *episodes) touch(a *Alert) {
	if _, known := e.before[a.ID]; !known {
		e.before[a.ID] = *a
		e.touched = append(e.touched, a)
	}
}

// place returns the episode that a finding belongs to, merged with it.
func (e *episodes) place(f *Alert) *Alert {
	key := f.Key()
	id := episodeID(key, f.WindowStart)
	for _, a := range e.byKey[key] {
		if a.ID == id || a.near(f) {
			e.touch(a)
			*a = a.merge(f)
			return a
		}
	}
	a := *f
	a.ID, a.Revision = id, 0
	e.byKey[key], e.byID[id] = append(e.byKey[key], &a), &a
	e.before[id], e.touched = Alert{}, append(e.touched, &a)
	return &a
}

// replaced says whether a stored finding is of a window that was judged again.
func replaced(judged []Judged, old finding) bool {
	_, ok := slices.BinarySearchFunc(judged, old, func(j Judged, f finding) int {
		switch at := j.Start.Unix(); {
		case f.from < at:
			return 1
		case f.from == at && (f.version == j.Version && f.to == j.End.Unix() || f.version != j.Version),
			f.version != j.Version && f.from < at+int64(j.Step/time.Second):
			return 0
		}
		return -1
	})
	return ok
}

// write stores the touched episodes that differ from before.
func (s *Store) write(ctx context.Context, e *episodes) (Raised, error) {
	var r Raised
	now := s.stamp()
	var write []*Alert
	for _, a := range e.touched {
		old := e.before[a.ID]
		switch {
		case old.Revision == 0:
			r.New++
			a.Raised = now
		case a.equal(&old):
			continue
		default:
			r.Changed++
			if a.Withdrawn && !old.Withdrawn {
				r.Withdrawn++
			}
		}
		a.Revision, a.Updated = old.Revision+1, now
		write = append(write, a)
	}
	if err := s.store(ctx, write); err != nil {
		return r, err
	}
	for _, a := range e.touched {
		r.Alerts = append(r.Alerts, *a)
	}
	return r, nil
}

// again makes those episodes anew of their findings that lost one, or whose
// strongest finding was replaced by another.
func (s *Store) again(ctx context.Context, e *episodes, said map[place]finding, fresh map[place]*Alert, gone map[place]finding) error {
	anew := map[string]bool{}
	for at := range gone {
		anew[at.alert] = true
	}
	for at, f := range fresh {
		if old, known := said[at]; known && old.hash != f.hash() {
			anew[at.alert] = true
		}
	}
	if len(anew) == 0 {
		return nil
	}
	var detectors []string
	for id := range anew {
		if a := e.byID[id]; a != nil && !slices.Contains(detectors, a.Detector) {
			detectors = append(detectors, a.Detector)
		}
	}
	left, err := s.left(ctx, detectors, anew)
	if err != nil {
		return err
	}
	for id := range anew {
		a := e.byID[id]
		if a == nil {
			continue // it was erased
		}
		e.touch(a)
		var best *Alert
		var start, end time.Time
		join := func(f *Alert) {
			if best == nil || stronger(f, best) {
				best = f
			}
			if start.IsZero() || f.Start.Before(start) {
				start = f.Start
			}
			end = later(end, f.End)
		}
		for _, f := range left[id] {
			at := place{id, f.WindowStart.Unix(), f.WindowEnd.Unix()}
			if _, out := gone[at]; !out && fresh[at] == nil {
				join(f)
			}
		}
		for at, f := range fresh {
			if at.alert == id {
				join(f)
			}
		}
		if best == nil {
			a.Withdrawn = true
			continue
		}
		if fresh[place{id, best.WindowStart.Unix(), best.WindowEnd.Unix()}] != best { // left lacks the long texts
			if best, err = s.whole(ctx, best); err != nil {
				return err
			}
		}
		now := *best
		now.ID, now.Revision, now.Raised, now.Updated, now.SuppressedBy = a.ID, a.Revision, a.Raised, a.Updated, a.SuppressedBy
		now.Start, now.End, now.Withdrawn = start, end, false
		*a = now
	}
	return nil
}

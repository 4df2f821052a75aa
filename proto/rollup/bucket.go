package rollup

import (
	"cmp"
	"slices"
	"time"
)

// bucket is what is known of an hour that is dirty or provisional, or was built a
// moment ago.
type bucket struct {
	rest
	entries  map[string]entry // newest build of each rollup
	promised uint64           // rows that batches promises; of one with a cover: beyond it
	several  bool             // more than one probe of a site has rows in it
	cover    uint64           // number of its cover; 0: provisional
	covered  uint64           // rows of the cover
	late     []batch          // that the cover does not have
	dirty    bool             // some rollup lacks rows
	less     bool             // to be built though it will be made of fewer rows
	grew     time.Time        // when more rows were promised than before
	rows     uint64           // that its last build by this Builder was made of
	tries    int              // builds that brought nothing new
}

// entry is a row of rollup_builds.
type entry struct {
	build, rows, cover uint64
}

// stream is what numbers batches.
type stream struct {
	probe  string
	epoch  uint64
	worker uint16
}

// batch is one that has rows in a bucket.
type batch struct {
	stream
	seq, rows uint64
}

// build is the rows of one build of one rollup.
type build struct {
	name   string
	bucket int64
	number uint64
	since  time.Time // when it was replaced
}

// expected is how many rows a complete build of the bucket is made of.
func (k *bucket) expected() uint64 { return k.covered + k.promised }

// unfinished: it lacks rows, or what it is made of has not been written down.
func (k *bucket) unfinished() bool { return k.dirty || k.cover == 0 }

// lacking says whether the newest build of a rollup lacks rows.
func (k *bucket) lacking(name string) bool {
	e, ok := k.entries[name]
	if k.cover != 0 {
		return !ok || len(k.late) > 0
	}
	return !ok || e.rows < k.promised
}

// rest keeps what is dirty from being built all the time.
type rest struct {
	notBefore time.Time
	length    time.Duration
}

// after sets the rest of something whose build took so long. What has got nothing
// new by it lacks rows that are not to be had: somebody has deleted them, or their
// block is stopped.
func (r *rest) after(took, least time.Duration, nothing bool) {
	length := max(least, costFactor*took)
	if nothing && r.length > 0 {
		length = min(max(2*r.length, length), restMost)
	}
	r.length, r.notBefore = length, time.Now().Add(length)
}

// run is batches of one stream whose numbers follow each other.
type run struct{ first, last uint64 }

// runs returns the runs of numbers in ascending order.
func runs(seqs []uint64) []run {
	var list []run
	for _, seq := range seqs {
		if n := len(list); n > 0 && seq <= list[n-1].last+1 {
			list[n-1].last = seq
			continue
		}
		list = append(list, run{seq, seq})
	}
	return list
}

// merged returns runs in order, those that touch made one.
func merged(list []run) []run {
	slices.SortFunc(list, func(a, b run) int { return cmp.Compare(a.first, b.first) })
	var out []run
	for _, r := range list {
		if n := len(out); n > 0 && r.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, r.last)
			continue
		}
		out = append(out, r)
	}
	return out
}

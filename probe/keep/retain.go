package keep

import (
	"errors"
	"fmt"
	"os"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// errNoSpace: nothing is left to remove, and still there is no room.
var errNoSpace = errors.New("no room")

// makeRoom removes the oldest segments until need octets fit into the ring's bytes
// and leave the free space that is asked for.
func (r *Ring) makeRoom(need int64) error {
	for {
		r.mu.Lock()
		over := r.total+need > int64(r.cfg.MaxBytes)
		r.mu.Unlock()
		if !over {
			break
		}
		if !r.removeOldest("bytes") {
			return fmt.Errorf("a block of %s in a ring of %s: %w", kit.Bytes(need), r.cfg.MaxBytes, errNoSpace)
		}
	}
	for {
		avail, known := r.free(r.cfg.Dir)
		if !known || avail-need >= int64(r.cfg.MinFree) {
			return nil
		}
		if !r.removeOldest("space") {
			return kit.Hint(fmt.Errorf("the file system has %s left, min_free is %s: %w", kit.Bytes(avail), r.cfg.MinFree, errNoSpace),
				"free space, or give the packets a file system of their own")
		}
	}
}

// expire removes segments of which a part is older than the greatest age, so that
// no packet outlives it. The active one is completed after an eighth of the age,
// which is how much earlier packets may go.
func (r *Ring) expire() {
	if r.cfg.MaxAge <= 0 {
		return
	}
	now := r.now().UnixNano()
	if a := r.active; a != nil && a.blocks > 0 && now-a.since >= int64(r.cfg.MaxAge)/8 {
		if err := r.complete(); err != nil {
			r.failing.report(r, err)
		}
	}
	for {
		r.mu.Lock()
		var oldest *segment
		if len(r.segments) > 0 && r.segments[0] != r.active {
			oldest = r.segments[0]
		}
		r.mu.Unlock()
		if oldest == nil || now-oldest.since < int64(r.cfg.MaxAge) || !r.removeOldest("age") {
			return
		}
	}
}

// removeOldest removes the oldest complete segment; false: there is none, or it
// cannot be removed.
func (r *Ring) removeOldest(reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.segments) == 0 || r.segments[0] == r.active {
		return false
	}
	s := r.segments[0]
	if err := os.Remove(s.path); err != nil && !isGone(err) {
		r.stats.IOErrors++
		r.log.Error("packets: remove the oldest segment", "file", s.path, "error", err)
		return false
	}
	r.segments = r.segments[1:]
	r.total -= s.size
	r.stats.RemovedSegments++
	r.removed[reason]++
	return true
}

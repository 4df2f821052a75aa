package consume

import (
	"context"

	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// budget bounds the memory of the messages that all partitions together hold.
type budget struct {
	sem  *semaphore.Weighted
	size int64
	// redo admits one block at a time that has to be formed again: such a block
	// cannot be cut short when memory is scarce, so it goes beyond the budget.
	redo *semaphore.Weighted
}

func newBudget(size int64) *budget {
	return &budget{semaphore.NewWeighted(size), size, semaphore.NewWeighted(1)}
}

// hold is what one block has taken of a budget.
type hold struct {
	budget *budget
	bytes  int64
	redo   bool
}

// admit waits for leave to form a promised block again.
func (h *hold) admit(ctx context.Context) error {
	if err := h.budget.redo.Acquire(ctx, 1); err != nil {
		return err
	}
	h.redo = true
	return nil
}

// take asks for n octets: false says that there are none left, and that the
// block must do with what it has. An empty block waits, since others will give
// back; a block that is formed again just gets them.
func (h *hold) take(ctx context.Context, n int64) (bool, error) {
	n = min(n, h.budget.size)
	switch {
	case h.redo:
		return true, nil
	case h.budget.sem.TryAcquire(n):
	case h.bytes > 0:
		return false, nil
	default:
		if err := h.budget.sem.Acquire(ctx, n); err != nil {
			return false, err
		}
	}
	h.bytes += n
	return true, nil
}

// release gives everything back.
func (h *hold) release() {
	if h.redo {
		h.budget.redo.Release(1)
	}
	h.budget.sem.Release(h.bytes)
	h.bytes, h.redo = 0, false
}

// cost estimates what a decoded batch and its rows on their way into ClickHouse
// take of memory, in octets: packed integers of a wire size of one octet become
// four or eight, and each row is held once more as columns, of 650 octets with
// short strings; texts of the dictionary are written out for every record.
func cost(b *flow.Batch) int64 {
	if b == nil {
		return 4 << 10
	}
	return 4*int64(proto.Size(b.Header())) + 1000*int64(b.Len()) + b.TextBytes() + 4<<10
}

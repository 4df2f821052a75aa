// Package backoff spaces out retries: each pause is twice the one before, up to a maximum, and spread at random so that
// many probes that lost the same broker do not come back in the same instant.
//
// In comes a context, out goes a pause. Nothing is owned.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// DefaultMin is the first pause where Min is zero.
	DefaultMin = 100 * time.Millisecond
	// DefaultMax is the longest pause where Max is zero.
	DefaultMax = 30 * time.Second
)

// Backoff is the state of one retry loop. The zero value is ready, with DefaultMin and DefaultMax. It is not safe for
// concurrent use.
type Backoff struct {
	// Min is the upper bound of the first pause; zero or less means DefaultMin.
	Min time.Duration
	// Max is the upper bound of every pause; zero or less means DefaultMax, less than Min means Min.
	Max time.Duration

	next time.Duration
}

// Wait pauses for between half and all of the current bound, then doubles the bound. It returns nil after the pause, or
// the cause of ctx's end at once when ctx ends first or has already ended.
func (b *Backoff) Wait(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	pause := b.Next()
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Next returns the pause that Wait would make and doubles the bound, for loops that have their own select.
func (b *Backoff) Next() time.Duration {
	first, longest := b.Min, b.Max
	if first <= 0 {
		first = DefaultMin
	}
	if longest <= 0 {
		longest = DefaultMax
	}
	longest = max(longest, first)
	bound := min(max(b.next, first), longest)
	if bound > longest/2 {
		b.next = longest
	} else {
		b.next = 2 * bound
	}
	// Half fixed, half random ("equal jitter"): never a pause of nothing, and peers still drift apart.
	return bound/2 + rand.N(bound-bound/2+1)
}

// Reset makes the next pause the shortest again; call it after a success.
func (b *Backoff) Reset() { b.next = 0 }

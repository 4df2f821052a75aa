package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPausesDoubleUpToMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: time.Second, Max: 6 * time.Second}
		for i, bound := range []time.Duration{1, 2, 4, 6, 6} {
			bound *= time.Second
			start := time.Now()
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got < bound/2 || got > bound {
				t.Errorf("pause %d took %v, want between %v and %v", i, got, bound/2, bound)
			}
		}
		b.Reset()
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil || time.Since(start) > time.Second {
			t.Errorf("after Reset: pause of %v, %v; want at most 1s", time.Since(start), err)
		}
	})
}

func TestContextEndsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		b := Backoff{Min: time.Hour}
		start := time.Now()
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v, want the context's error", err)
		}
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("Wait returned after %v, want 3s", got)
		}
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("Wait with an ended context = %v after %v, want its error at once", err, time.Since(start))
		}
	})
}

func TestZeroValueAndExtremes(t *testing.T) {
	var zero Backoff
	if p := zero.Next(); p < DefaultMin/2 || p > DefaultMin {
		t.Errorf("first pause of the zero value = %v, want up to %v", p, DefaultMin)
	}
	huge := Backoff{Min: 1<<63 - 1}
	one := Backoff{Min: 1, Max: 1}
	for range 100 {
		if p := huge.Next(); p <= 0 {
			t.Fatalf("pause overflowed to %v", p)
		}
		if p := one.Next(); p < 0 || p > 1 {
			t.Fatalf("pause of %v, want at most 1ns", p)
		}
		if p := zero.Next(); p > DefaultMax {
			t.Fatalf("pause of %v, want at most %v", p, DefaultMax)
		}
	}
}

func TestPausesAreSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		b := Backoff{Min: time.Hour}
		seen[b.Next()] = true
	}
	if len(seen) < 90 {
		t.Errorf("100 first pauses of an hour have only %d values", len(seen))
	}
}

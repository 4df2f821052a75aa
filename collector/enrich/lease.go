package enrich

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// ErrBusy is the answer of Again while another one is at work on the same
// database: both would use the same tables.
var ErrBusy = errors.New("flows are being enriched again by another process")

const (
	leaseTask  = "enrich again"
	leaseTime  = time.Minute
	leaseRenew = 15 * time.Second
)

// lease makes this process the only one that enriches again, and ends the context
// if it no longer is. release must be called.
func lease(ctx context.Context, conn driver.Conn) (held context.Context, release func(), err error) {
	id := rand.Uint64() | 1
	task := clickhouse.Named("task", leaseTask)
	look := func(ctx context.Context) (holder uint64, free bool, err error) {
		err = conn.QueryRow(ctx, "SELECT argMax(version, updated), argMax(until, updated) < now64(3) FROM enrich_state WHERE name = {task:String}", task).Scan(&holder, &free)
		if err != nil {
			err = fmt.Errorf("look who enriches flows again: %w", err)
		}
		return holder, free || holder == 0, err
	}
	write := func(ctx context.Context, holder uint64) error {
		err := conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0})),
			"INSERT INTO enrich_state (name, version, until, updated) VALUES ({task:String}, {holder:UInt64}, now64(3) + toIntervalSecond({seconds:UInt32}), now64(3))",
			task, clickhouse.Named("holder", holder), clickhouse.Named("seconds", uint32(leaseTime/time.Second)))
		if err != nil {
			return fmt.Errorf("note who enriches flows again: %w", err)
		}
		return nil
	}
	busy := kit.Hint(ErrBusy, "wait for its end; one that was killed counts for a minute")
	switch _, free, err := look(ctx); {
	case err != nil:
		return nil, nil, err
	case !free:
		return nil, nil, busy
	}
	if err := write(ctx, id); err != nil {
		return nil, nil, err
	}
	switch holder, _, err := look(ctx); {
	case err != nil:
		return nil, nil, err
	case holder != id:
		return nil, nil, busy
	}
	held, cancel := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		t := time.NewTicker(leaseRenew)
		defer t.Stop()
		renewed := time.Now()
		for {
			select {
			case <-held.Done():
				return
			case <-t.C:
			}
			holder, _, err := look(held)
			if err == nil && holder != id {
				cancel(busy)
				return
			}
			if err == nil {
				err = write(held, id)
			}
			if err == nil {
				renewed = time.Now()
			} else if time.Since(renewed) > leaseTime-leaseRenew {
				cancel(err)
				return
			}
		}
	})
	return held, func() {
		cancel(nil)
		renewing.Wait()
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer stop()
		if holder, _, err := look(last); err == nil && holder == id {
			_ = write(last, 0) // if it is lost, the lease ends by itself
		}
	}, nil
}

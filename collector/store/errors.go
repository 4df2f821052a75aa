package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
)

// trouble is a kind of refusal by ClickHouse: the label of the metric, and what
// an operator can do. Codes are from its src/Common/ErrorCodes.cpp.
type trouble struct{ reason, hint string }

func troubleOf(err error) trouble {
	var e *clickhouse.Exception
	switch {
	case errors.As(err, &e):
		switch e.Code {
		case 241:
			return trouble{"memory", "ClickHouse is short of memory: raise max_server_memory_usage or lower block.max_rows"}
		case 243:
			return trouble{"disk_full", "ClickHouse has no space left: free some or shorten retention; nothing is lost while Kafka keeps the messages"}
		case 252:
			return trouble{"too_many_parts", "merges do not keep up: raise block.max_rows and block.max_wait, or look for slow disks"}
		case 164, 242, 479, 774:
			return trouble{"read_only", "the table or the user is read-only: check Keeper, or the profile of the user"}
		case 202, 203, 473, 999:
			return trouble{"overload", "ClickHouse is overloaded"}
		case 216:
			return trouble{"still_running", "an earlier attempt of this insert is still at work"}
		case 159, 209, 210:
			return trouble{"timeout", "ClickHouse is slow to answer"}
		case 192, 193, 194, 195, 497, 516:
			return trouble{"access", "check clickhouse.username, clickhouse.password and the grants"}
		case 60, 81, 16, 10:
			return trouble{"schema", "a table or column is missing: run tapwatch-collector migrate"}
		}
		return trouble{reason: fmt.Sprintf("code_%d", e.Code)}
	case errors.Is(err, errReserve):
		return trouble{reason: "reserve", hint: kit.HintOf(err)}
	case errors.Is(err, context.DeadlineExceeded):
		return trouble{"timeout", "ClickHouse is slow to answer"}
	}
	return trouble{reason: "network", hint: "is ClickHouse running, and clickhouse.addr right?"}
}

// retry does what may be done again until it works or ctx ends. Each attempt has
// the Store's timeout.
func (s *Store) retry(ctx context.Context, what string, do func(context.Context) error) error {
	wait := s.backoff()
	for {
		try, cancel := context.WithTimeout(ctx, s.timeout)
		err := do(try)
		cancel()
		if err == nil {
			s.ops.Ready("clickhouse", nil)
			return nil
		}
		if err := s.pause(ctx, wait, what, err); err != nil {
			return err
		}
	}
}

func (s *Store) backoff() *backoff.Backoff {
	return &backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
}

// pause tells of an error and waits before the next attempt; its own error is
// that ctx has ended.
func (s *Store) pause(ctx context.Context, wait *backoff.Backoff, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t := troubleOf(err)
	s.metrics.retries.WithLabelValues(t.reason).Inc()
	s.ops.Ready("clickhouse", kit.Hint(fmt.Errorf("%s: %w", what, err), t.hint))
	return wait.Wait(ctx)
}

func newInstance() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

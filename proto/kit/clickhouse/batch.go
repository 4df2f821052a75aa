package clickhouse

import (
	"context"
	"fmt"
	"sync"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Open returns a pool with settings of the caller's, which connects when it is first used; the caller closes it.
// Where a pool inserts batches it comes from here or from Config.Open, not from clickhouse-go: there, a context that
// ends just after its batch was sent may close the connection, which by then is another statement's
// (https://github.com/ClickHouse/clickhouse-go/pull/2032; "use of closed network connection").
func Open(o *ch.Options) (driver.Conn, error) {
	conn, err := ch.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	return pool{conn}, nil
}

// pool is a pool of clickhouse-go's whose batches do not hear of the end of their context once they are sent.
type pool struct{ driver.Conn }

// PrepareBatch is that of driver.Conn.
func (p pool) PrepareBatch(ctx context.Context, query string, opts ...driver.PrepareBatchOption) (driver.Batch, error) {
	own, cancel := apart(ctx)
	var over sync.Once
	stop := context.AfterFunc(ctx, func() { over.Do(cancel) })
	inner, err := p.Conn.PrepareBatch(own, query, opts...)
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	// own is not cancelled at the end: that is what clickhouse-go would take for an interruption.
	return &batch{inner, func() { stop(); over.Do(func() {}) }}, nil
}

// apart returns a context with the values and the deadline of ctx that does not end with it.
func apart(ctx context.Context) (context.Context, context.CancelFunc) {
	own := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(own, deadline)
	}
	return context.WithCancel(own)
}

// batch hands the end of the caller's context on until finish, when the connection is somebody else's.
type batch struct {
	driver.Batch
	finish func()
}

func (b *batch) Send() error {
	defer b.finish()
	return b.Batch.Send()
}

func (b *batch) Abort() error {
	defer b.finish()
	return b.Batch.Abort()
}

func (b *batch) Close() error {
	defer b.finish()
	return b.Batch.Close()
}

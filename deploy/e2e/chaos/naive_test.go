package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// collectNaively is what one would write first: read messages, insert their
// rows, try again after an error, commit afterwards. It is here to fail: a test
// that finds nothing wrong with it would find nothing wrong with anything.
func collectNaively(ctx context.Context, s settings) error {
	db, err := s.collector().ClickHouse.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{s.Broker}, GroupID: s.Group, Topic: s.Topic, MaxWait: 3 * time.Second,
		StartOffset: kafka.FirstOffset, SessionTimeout: 10 * time.Second, RebalanceTimeout: 5 * time.Second,
		HeartbeatInterval: 500 * time.Millisecond, JoinGroupBackoff: time.Second, ErrorLogger: kafka.LoggerFunc(tell)})
	defer reader.Close()
	columns := append([]string{"probe", "site", "epoch", "worker", "seq", "row", "kafka_partition", "kafka_offset", "received"}, flow.ColumnNames()...)
	insert := "INSERT INTO flows (" + strings.Join(columns, ", ") + ")"
	decoder := flow.NewReader()
	for ctx.Err() == nil {
		var messages []kafka.Message
		gathering, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
		for {
			m, err := reader.FetchMessage(gathering)
			if err != nil {
				break
			}
			messages = append(messages, m)
		}
		cancel()
		if len(messages) == 0 {
			continue
		}
		retryNaively(ctx, "insert", func() error { return insertNaively(ctx, s, db, insert, decoder, messages) })
		retryNaively(ctx, "commit", func() error { return reader.CommitMessages(ctx, messages...) })
	}
	return nil
}

func retryNaively(ctx context.Context, what string, do func() error) {
	for ctx.Err() == nil {
		err := do()
		if err == nil {
			return
		}
		tell("%s: %v", what, err)
		wait(ctx, 200*time.Millisecond)
	}
}

// tell writes to the child's log.
func tell(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func insertNaively(ctx context.Context, s settings, db clickhouse.Conn, insert string, decoder *flow.Reader, messages []kafka.Message) error {
	ctx, cancel := context.WithTimeout(ctx, s.RequestTimeout)
	defer cancel()
	batch, err := db.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "insert_deduplicate": 0})), insert)
	if err != nil {
		return err
	}
	for _, m := range messages {
		b, err := decoder.Read(m.Value)
		if err != nil {
			return errors.Join(err, batch.Abort())
		}
		h, block := b.Header(), flow.NewBlock()
		rows := make([]int, b.Len())
		for i := range rows {
			rows[i] = i
		}
		block.Add(b, rows)
		n := len(rows)
		values := []any{slices.Repeat([]string{h.Probe}, n), slices.Repeat([]string{h.Site}, n), slices.Repeat([]uint64{h.Epoch}, n),
			slices.Repeat([]uint16{uint16(h.Worker)}, n), slices.Repeat([]uint64{h.Seq}, n), numbers(n),
			slices.Repeat([]int32{int32(m.Partition)}, n), slices.Repeat([]int64{m.Offset}, n), slices.Repeat([]time.Time{m.Time.UTC()}, n)}
		for i := range flow.ColumnNames() {
			v := block.Values(i)
			switch v := v.(type) {
			case []int64: // clickhouse-go takes plain numbers for milliseconds
				times := make([]time.Time, n)
				for j, ns := range v {
					times[j] = time.Unix(0, ns)
				}
				values = append(values, times)
				continue
			}
			values = append(values, v)
		}
		for i, v := range values {
			if err := batch.Column(i).Append(v); err != nil {
				return errors.Join(fmt.Errorf("column %d: %w", i, err), batch.Abort())
			}
		}
	}
	return batch.Send()
}

func numbers(n int) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		list[i] = uint32(i)
	}
	return list
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

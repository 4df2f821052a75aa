package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
)

const (
	partitions = 4
	// blockRows is the collector's default for one insert.
	blockRows = 100_000
	// messageRows is what a busy probe sends at once, about.
	messageRows = 2000
	// engineRows are enough for ClickHouse's own engine, which is slow.
	engineRows = 30_000
	// patience bounds each way.
	patience = 8 * time.Minute
	// settle in place of 5 s: the last rows of each partition fill no block,
	// and waiting for more that never come is no work.
	settle = 200 * time.Millisecond
	// ticksPerSecond is USER_HZ, the unit of /proc/PID/stat, the same on all
	// architectures of Linux that Go has.
	ticksPerSecond = 100
)

// way is what one way into the table took.
type way struct {
	name         string
	rows         int
	wall         time.Duration
	self, server time.Duration // CPU of this process, and of ClickHouse
}

func (w way) cpu() float64 { return (w.self + w.server).Seconds() }

// insert sends the same records into the table on three ways, and prints rows
// per second and per CPU second. The table of each is made like flows.
func insert(ctx context.Context, out io.Writer, db driver.Conn, ch *local.ClickHouse, o options) error {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	records, err := readRecords(ctx, db, o.insertRows)
	if err != nil {
		return err
	}
	var messages [][]byte
	if err := seal(records, messageRows, "bench", func(m []byte, _ int) error { messages = append(messages, m); return nil }); err != nil {
		return err
	}
	broker, err := local.StartKafkaProcess(ctx, local.KafkaConfig{Dir: filepath.Join(o.dir, "kafka"), RetentionBytes: -1,
		Topics: map[string]int32{"flows.v1": partitions, "flows.dead": 1, "single": partitions}}, nil)
	if err != nil {
		return err
	}
	defer broker.Close()
	var ways []way
	for _, connections := range []int{1, 2, 4} {
		w, err := push(ctx, db, ch, messages, connections)
		if err != nil {
			return fmt.Errorf("push with %d connections: %w", connections, err)
		}
		ways = append(ways, w)
	}
	w, err := collect(ctx, ch, broker.Addr(), messages, len(records))
	if err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	ways = append(ways, w)
	fmt.Fprintf(out, "\nInto the table: %s records in %d messages.\n\n| way | rows/s | rows per CPU s, both | of it ClickHouse, CPU s | client, CPU s |\n| --- | ---: | ---: | ---: | ---: |\n", count(float64(len(records))), len(messages))
	show := func(w way) {
		fmt.Fprintf(out, "| %s | %s | %s | %.1f | %.1f |\n", w.name, count(float64(w.rows)/w.wall.Seconds()), count(float64(w.rows)/w.cpu()), w.server.Seconds(), w.self.Seconds())
	}
	for _, w := range ways {
		show(w)
	}
	best := slices.MaxFunc(ways[:len(ways)-1], func(a, b way) int { return int(b.wall - a.wall) })
	e, err := engine(ctx, db, ch, broker.Addr(), o, records[:min(len(records), engineRows)])
	if err != nil {
		fmt.Fprintf(out, "\nClickHouse's Kafka engine could not be measured: %v\n", err)
	} else {
		show(e)
		fmt.Fprintf(out, "\nThe collector's rows per CPU second are %.2f of those of the Kafka engine.", e.cpu()/float64(e.rows)*float64(w.rows)/w.cpu())
	}
	fmt.Fprintf(out, "\nThe collector's rows per second are %.0f %% of clickhouse-go's best from memory.\n", 100*best.wall.Seconds()/w.wall.Seconds())
	return nil
}

// push is clickhouse-go with all columns in memory.
func push(ctx context.Context, db driver.Conn, ch *local.ClickHouse, messages [][]byte, connections int) (w way, err error) {
	const name = "pushed"
	if err := like(ctx, db, name); err != nil {
		return w, err
	}
	defer drop(ctx, db, name)
	// A block gathers messages as the collector's does.
	var blocks []*flow.Block
	reader := flow.NewReader()
	for _, m := range messages {
		b, err := reader.Read(m)
		if err != nil {
			return w, err
		}
		if len(blocks) == 0 || blocks[len(blocks)-1].Rows()+b.Len() > blockRows {
			blocks = append(blocks, flow.NewBlock())
		}
		rows := make([]int, b.Len())
		for i := range rows {
			rows[i] = i
		}
		blocks[len(blocks)-1].Add(b, rows)
	}
	columns := make([][]any, len(blocks))
	for k, b := range blocks {
		n := b.Rows()
		w.rows += n
		row, offset, received := make([]uint32, n), make([]int64, n), make([]time.Time, n)
		for i := range n {
			row[i], offset[i], received[i] = uint32(i), int64(k), time.Unix(1_760_000_000, 0)
		}
		columns[k] = append(columns[k], slices.Repeat([]string{"bench"}, n), slices.Repeat([]string{""}, n), slices.Repeat([]uint64{1}, n), slices.Repeat([]uint16{0}, n),
			slices.Repeat([]uint64{uint64(k)}, n), row, slices.Repeat([]int32{0}, n), offset, received)
		for i := range flow.ColumnNames() {
			columns[k] = append(columns[k], plain(b.Values(i), flow.ColumnType(i)))
		}
	}
	self, server, began := selfTime(), processTime(ch.PID()), time.Now()
	var group errgroup.Group
	group.SetLimit(connections)
	for _, c := range columns {
		group.Go(func() error {
			ctx := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "max_insert_block_size": 100_000_000,
				"min_insert_block_size_rows": 100_000_000, "min_insert_block_size_bytes": 16 << 30, "max_insert_threads": 1, "insert_deduplicate": 0}))
			batch, err := db.PrepareBatch(ctx, "INSERT INTO "+name+" ("+allColumns()+")")
			if err != nil {
				return err
			}
			for i, values := range c {
				if err := batch.Column(i).Append(values); err != nil {
					return errors.Join(err, batch.Abort())
				}
			}
			return batch.Send()
		})
	}
	if err := group.Wait(); err != nil {
		return w, err
	}
	w.name, w.wall = fmt.Sprintf("clickhouse-go from memory, %d connections", connections), time.Since(began)
	w.self, w.server = selfTime()-self, processTime(ch.PID())-server
	return w, expect(ctx, db, name, w.rows)
}

// collect is the collector from Kafka to verified rows.
func collect(ctx context.Context, ch *local.ClickHouse, broker string, messages [][]byte, rows int) (w way, err error) {
	cfg := collector.DefaultConfig()
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", "error"
	cfg.Block.MaxWait = settle
	cfg.Rollup.Interval = 0
	cfg.Retention.Flows, cfg.Retention.Ledger = 18250, 18250 // the days are of long ago
	cfg.Topic, cfg.DeadLetterTopic = "flows.v1", "flows.dead"
	cfg.Kafka.Brokers, cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{broker}, []string{ch.Addr()}, "collected"
	admin, err := open(ch, local.Database)
	if err != nil {
		return w, err
	}
	defer admin.Close()
	if err := admin.Exec(ctx, "CREATE DATABASE IF NOT EXISTS collected ENGINE = Atomic"); err != nil {
		return w, err
	}
	defer admin.Exec(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS collected SYNC")
	if err := collector.Migrate(ctx, cfg); err != nil {
		return w, err
	}
	db, err := open(ch, "collected")
	if err != nil {
		return w, err
	}
	defer db.Close()
	if err := produce(ctx, cfg.Kafka, cfg.Topic, messages, 1); err != nil {
		return w, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	self, server, began := selfTime(), processTime(ch.PID()), time.Now()
	go func() { ended <- collector.Run(running, cfg) }()
	if err := await(ctx, db, "SELECT sum(rows) FROM batches FINAL WHERE status = 'stored'", rows, ended); err != nil {
		return w, err
	}
	w = way{name: "the collector from Kafka", rows: rows, wall: time.Since(began), self: selfTime() - self, server: processTime(ch.PID()) - server}
	stop()
	if err := <-ended; err != nil {
		return w, err
	}
	return w, expect(ctx, db, "flows", rows)
}

// like makes a table of the same layout as flows.
func like(ctx context.Context, db driver.Conn, name string) error {
	drop(ctx, db, name)
	if err := db.Exec(ctx, "CREATE TABLE "+name+" AS flows"); err != nil {
		return fmt.Errorf("make a table like flows: %w", err)
	}
	return nil
}

func drop(ctx context.Context, db driver.Conn, name string) {
	db.Exec(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS "+name+" SYNC")
}

func expect(ctx context.Context, db driver.Conn, name string, rows int) error {
	var n uint64
	if err := db.QueryRow(ctx, "SELECT count() FROM "+name).Scan(&n); err != nil {
		return err
	}
	if n != uint64(rows) {
		return fmt.Errorf("%s has %d rows, %d were sent", name, n, rows)
	}
	return nil
}

// produce spreads messages over the partitions, in runs, some in each request.
func produce(ctx context.Context, cfg kafka.Config, topic string, messages [][]byte, together int) error {
	client, err := cfg.Client()
	if err != nil {
		return err
	}
	defer kafka.CloseIdle(client)
	for i := 0; len(messages) > 0; i++ {
		n := min(together, len(messages))
		records := make([]kafkago.Record, n)
		for k, m := range messages[:n] {
			records[k] = kafkago.Record{Value: kafkago.NewBytes(m), Time: time.Now()}
		}
		answer, err := client.Produce(ctx, &kafkago.ProduceRequest{Topic: topic, Partition: i % partitions, RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(records...)})
		if err == nil {
			err = answer.Error
		}
		if err != nil {
			return fmt.Errorf("produce to %s: %w", topic, err)
		}
		messages = messages[n:]
	}
	return nil
}

// await returns when a query's number has reached n.
func await(ctx context.Context, db driver.Conn, sql string, n int, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var have uint64
		if err := db.QueryRow(ctx, sql).Scan(&have); err != nil {
			return fmt.Errorf("ask for stored rows: %w", err)
		}
		if have >= uint64(n) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d rows are stored: %w", have, n, ctx.Err())
		case err := <-ended:
			return fmt.Errorf("ended with %d of %d rows stored: %w", have, n, err)
		case <-tick.C:
		}
	}
}

// selfTime is the CPU time of this process so far.
func selfTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processTime is the CPU time of a process so far; 0 where it cannot be read.
func processTime(pid int) time.Duration {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// proc(5): the name in brackets may hold anything; user and system time are the 12th and 13th words after it.
	words := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(words) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(words[11], 10, 64)
	system, _ := strconv.ParseInt(words[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
)

const (
	partitions = 4
	// batchRows is about what a busy probe sends at once.
	batchRows = 8000
	// storePatience bounds the whole measurement.
	storePatience = 3 * time.Minute
	// maxWait in place of 5 s: the last rows of each partition fill no block,
	// and waiting for more that never come is no work.
	maxWait = 200 * time.Millisecond
	// ticksPerSecond is USER_HZ, the unit of /proc/PID/stat, the same on all
	// architectures of Linux that Go has.
	ticksPerSecond = 100
)

// storage fills Kafka, then lets a collector with its production settings, but
// for maxWait, put all of it into ClickHouse, and measures both.
func storage(ctx context.Context, o options, dir string, batches []batch) (lines []line, err error) {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	cfg := collector.DefaultConfig()
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", "error"
	cfg.Block.MaxWait = maxWait
	k, err := local.StartKafka(ctx, local.KafkaConfig{Dir: filepath.Join(dir, "kafka"), RetentionBytes: -1,
		Topics: map[string]int32{cfg.Topic: partitions, cfg.DeadLetterTopic: 1}}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	ch, err := local.StartClickHouse(ctx, local.ClickHouseConfig{Dir: filepath.Join(dir, "clickhouse")}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ch.Close()) }()
	cfg.Kafka.Brokers, cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{k.Addr()}, []string{ch.Addr()}, local.Database
	if err := collector.Migrate(ctx, cfg); err != nil {
		return nil, err
	}
	db, err := cfg.ClickHouse.Open()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	octets, err := fill(ctx, cfg.Kafka, cfg.Topic, batches, o.rows)
	if err != nil {
		return nil, err
	}

	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	self, server := selfTime(), processTime(ch.PID())
	begin := time.Now()
	go func() { ended <- collector.Run(running, cfg) }()
	if err := await(ctx, db, o.rows, ended); err != nil {
		return nil, err
	}
	wall := time.Since(begin)
	self, server = selfTime()-self, processTime(ch.PID())-server
	stop()
	if err := <-ended; err != nil {
		return nil, err
	}
	before, err := onDisk(ctx, db)
	if err != nil {
		return nil, err
	}
	if err := db.Exec(ctx, "OPTIMIZE TABLE flows FINAL"); err != nil {
		return nil, fmt.Errorf("merge flows: %w", err)
	}
	after, err := onDisk(ctx, db)
	if err != nil {
		return nil, err
	}
	rows := float64(o.rows)
	told := fmt.Sprintf("%s rows, %d partitions, %.1f MB in Kafka, block.max_wait %v", count(rows), partitions, float64(octets)/1e6, maxWait)
	return []line{
		{"rows per second from Kafka into ClickHouse", count(rows / wall.Seconds()), fmt.Sprintf("%s: %.1f s from the collector's start until all are stored and verified", told, wall.Seconds())},
		{"rows per CPU second, collector", count(rows / self.Seconds()), fmt.Sprintf("user + system %.1f s, the embedded Kafka in the same process included", self.Seconds())},
		{"rows per CPU second, ClickHouse", count(rows / server.Seconds()), fmt.Sprintf("user + system %.1f s, merges until then included", server.Seconds())},
		{"octets per row on disk", fmt.Sprintf("%.1f", before/rows), "system.parts bytes_on_disk of flows, as written"},
		{"octets per row on disk, merged", fmt.Sprintf("%.1f", after/rows), "after OPTIMIZE TABLE flows FINAL; start time and client port of every row are random, all else is from the capture"},
	}, nil
}

// fill produces n rows, which are the flows of the capture over and over. Every
// repetition has its own times, within an hour, and client ports, so that the
// rows compress no better than different ones would. It returns the octets
// produced.
func fill(ctx context.Context, cfg kafka.Config, topic string, batches []batch, n int) (octets int, err error) {
	client, err := cfg.Client()
	if err != nil {
		return 0, err
	}
	defer kafka.CloseIdle(client)
	rnd, enc := rand.New(rand.NewPCG(1, 2)), flow.NewEncoder()
	var seq [partitions]uint64
	base := batches[0].Start(0)
	base -= base % int64(time.Hour)
	partition := 0
	seal := func() error {
		seq[partition]++
		end := base + int64(time.Hour)
		message, err := enc.Seal(&flowpb.FlowBatch{Probe: "bench", Epoch: 1, Worker: uint32(partition), Seq: seq[partition], ClockNs: end, WatermarkNs: base, SealedNs: time.Now().UnixNano()})
		if err != nil {
			return err
		}
		octets += len(message)
		answer, err := client.Produce(ctx, &kafkago.ProduceRequest{Topic: topic, Partition: partition, RequiredAcks: kafkago.RequireAll,
			Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes(message), Time: time.Now()})})
		if err == nil {
			err = answer.Error
		}
		if err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		partition = (partition + 1) % partitions
		return nil
	}
	for made := 0; made < n; {
		for _, b := range batches {
			for i := 0; i < b.Len() && made < n; i++ {
				var r flow.Record
				b.Record(i, &r)
				length := r.End - r.Start
				r.Start = base + rnd.Int64N(int64(time.Hour))/1000*1000
				r.End, r.FlowID = r.Start+length, uint64(made+1)
				if r.SrcPort >= 1024 {
					r.SrcPort = 1024 + uint16(rnd.UintN(64512))
				}
				if enc.Len() >= batchRows || !enc.Fits(&r) {
					if err := seal(); err != nil {
						return octets, err
					}
				}
				enc.Add(&r)
				made++
			}
		}
	}
	if enc.Len() > 0 {
		err = seal()
	}
	return octets, err
}

// await returns when batches says that n rows are stored.
func await(ctx context.Context, db driver.Conn, n int, ended <-chan error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var stored uint64
		if err := db.QueryRow(ctx, "SELECT sum(rows) FROM batches FINAL WHERE status = 'stored'").Scan(&stored); err != nil {
			return fmt.Errorf("ask for stored rows: %w", err)
		}
		if stored >= uint64(n) {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d rows are stored: %w", stored, n, ctx.Err())
		case err := <-ended:
			return fmt.Errorf("the collector ended with %d of %d rows stored: %w", stored, n, err)
		case <-tick.C:
		}
	}
	var rows uint64
	if err := db.QueryRow(ctx, "SELECT count() FROM flows").Scan(&rows); err != nil {
		return fmt.Errorf("count flows: %w", err)
	}
	if rows != uint64(n) {
		return fmt.Errorf("flows has %d rows, %d were produced", rows, n)
	}
	return nil
}

// onDisk is the size of the active parts of flows.
func onDisk(ctx context.Context, db driver.Conn) (float64, error) {
	var octets uint64
	err := db.QueryRow(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'flows'").Scan(&octets)
	if err != nil {
		return 0, fmt.Errorf("ask for the size of flows: %w", err)
	}
	return float64(octets), nil
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

// Package collector takes flow batches from Kafka and puts their records into
// ClickHouse, each exactly once, and keeps the rollups equal to them.
//
// In comes a Config; out go rows. The parts: consume (Kafka's side of the
// protocol), store (ClickHouse's side), rollup. How they make exactly-once is
// told in README.md.
package collector

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/collector/enrich"
	"github.com/tapwatch/tapwatch/collector/retain"
	"github.com/tapwatch/tapwatch/collector/store"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/rollup"
)

// Config is the collector's configuration. Every field has a sensible value in
// DefaultConfig.
type Config struct {
	Kafka           kafka.Config      `conf:"kafka"`
	Topic           string            `conf:"topic" help:"topic of the flow batches"`
	Group           string            `conf:"group" help:"consumer group; collectors of one group share the topic"`
	DeadLetterTopic string            `conf:"dead_letter_topic" help:"topic for messages that cannot be decoded"`
	Create          Create            `conf:"create"`
	ClickHouse      clickhouse.Config `conf:"clickhouse"`
	Cluster         Cluster           `conf:"cluster"`
	Probes          Probes            `conf:"probes"`
	Block           Block             `conf:"block"`
	Rollup          Rollup            `conf:"rollup"`
	Retention       retain.Options    `conf:"retention"`
	Enrich          enrich.Config     `conf:"enrich"`
	Ops             ops.Config        `conf:"ops"`
}

// Create says how topics are made that do not exist.
type Create struct {
	Partitions  int `conf:"partitions" help:"partitions of a topic that does not exist yet; 0: do not create topics"`
	Replication int `conf:"replication" help:"its replicas; -1: the broker's default"`
}

// Block bounds what is written at once.
type Block struct {
	MaxRows  int           `conf:"max_rows" help:"flow records of one insert at most, unless one message has more"`
	MaxWait  time.Duration `conf:"max_wait" help:"from the first message of a block until it is written"`
	MaxBytes kit.Bytes     `conf:"max_bytes" help:"memory for messages at hand, all partitions together, estimated"`
	Reserve  kit.Bytes     `conf:"reserve" help:"free space that inserts leave on ClickHouse's disk; 0: 5 % of it, at most 2GiB"`
	Timeout  time.Duration `conf:"timeout" help:"of one insert or query; what takes longer is tried again"`
}

// Rollup says how rollups are kept.
type Rollup struct {
	Interval time.Duration `conf:"interval" help:"between two looks for hours to build; 0: this collector builds none"`
}

// DefaultConfig is for Kafka and ClickHouse on this machine.
func DefaultConfig() Config {
	return Config{
		Kafka:           kafka.Config{Brokers: []string{"127.0.0.1:9092"}, ClientID: "tapwatch-collector"},
		Topic:           "flows.v1",
		Group:           "tapwatch-collector",
		DeadLetterTopic: "flows.v1.dead",
		Create:          Create{Partitions: 6, Replication: -1},
		ClickHouse:      clickhouse.Config{Addr: []string{"127.0.0.1:9000"}},
		Block:           Block{MaxRows: 100_000, MaxWait: 5 * time.Second, MaxBytes: 512 << 20, Timeout: 60 * time.Second},
		Rollup:          Rollup{Interval: 10 * time.Second},
		Retention:       retain.DefaultOptions(),
		Enrich:          enrich.DefaultConfig(),
		Ops:             ops.Config{Listen: "127.0.0.1:9612", LogLevel: "info", LogFormat: "text"},
	}
}

// Check says what is wrong with a Config, without touching the network.
func Check(cfg Config) error {
	positive := func(name string, ok bool, hint string) error {
		if ok {
			return nil
		}
		return kit.Hint(fmt.Errorf("%s: out of range", name), hint)
	}
	return errors.Join(
		cfg.Retention.Check(),
		enrich.Check(cfg.Enrich),
		cfg.Kafka.Validate(),
		cfg.ClickHouse.Validate(),
		cfg.Cluster.check(),
		positive("topic", cfg.Topic != "" && cfg.Topic != cfg.DeadLetterTopic, "give a name that is not the dead-letter topic's"),
		positive("dead_letter_topic", cfg.DeadLetterTopic != "", "give a name"),
		positive("group", cfg.Group != "", "give a name"),
		positive("create.partitions", cfg.Create.Partitions >= 0, "0 or more"),
		positive("create.replication", cfg.Create.Replication == -1 || cfg.Create.Replication > 0, "-1, or 1 or more"),
		positive("block.max_rows", cfg.Block.MaxRows > 0, "1 or more"),
		positive("block.max_wait", cfg.Block.MaxWait > 0, "more than 0"),
		positive("block.max_bytes", cfg.Block.MaxBytes >= 16<<20, "16MiB or more"),
		positive("block.timeout", cfg.Block.Timeout >= 100*time.Millisecond, "100ms or more"),
		positive("probes.required", cfg.Probes.Keys != "" || !cfg.Probes.Required, "it needs probes.keys"),
		positive("rollup.interval", cfg.Rollup.Interval >= 0, "0 or more"),
	)
}

// Run collects until ctx ends, and returns nil then. Kafka and ClickHouse may
// come and go: it waits and says so in its readiness. It returns an error where
// waiting does not help: a wrong Config or password, a port in use, a database
// of a later version.
func Run(ctx context.Context, cfg Config) error {
	if err := Check(cfg); err != nil {
		return err
	}
	o, err := ops.New("collector", cfg.Ops)
	if err != nil {
		return err
	}
	if err := o.Listen(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // metrics outlast the work
	defer stop()
	g.Go(func() error { return o.Serve(serving) })
	g.Go(func() error {
		defer stop()
		return collect(ctx, cfg, o)
	})
	return g.Wait()
}

func collect(ctx context.Context, cfg Config, o *ops.Ops) error {
	var verify func(probe string, message []byte) error
	if cfg.Probes.Keys != "" {
		known, err := newIdentities(cfg.Probes, o.Log)
		if err != nil {
			return err
		}
		verify = known.verify
	}
	o.Ready("kafka", errors.New("not connected yet"))
	conns, err := openShards(ctx, cfg, o)
	if err != nil || conns == nil {
		return err
	}
	defer closeAll(conns)
	if err := openTopics(ctx, cfg, o); err != nil || ctx.Err() != nil {
		return err
	}
	known, forget, err := know(ctx, cfg.Enrich, o)
	if err != nil {
		return err
	}
	defer forget()
	var shards shards
	var lead []func(context.Context)
	for i, conn := range conns {
		o := o
		if len(conns) > 1 {
			o = o.Part("shard", strconv.Itoa(i))
		}
		shards = append(shards, store.New(store.Config{Conn: conn, Timeout: cfg.Block.Timeout, Keep: cfg.Retention.Kept(), Reserve: int64(cfg.Block.Reserve), Ops: o, Enrich: known.ForFlows()}))
		keep := retain.Config{Conn: conn, Options: cfg.Retention, Ops: o}
		lead = append(lead, func(ctx context.Context) { known.Lead(ctx, conn) })
		if cfg.Rollup.Interval > 0 {
			sums := rollup.New(rollup.Config{Conn: conn, Interval: cfg.Rollup.Interval, Ops: o})
			keep.Behind, lead = sums.Behind, append(lead, sums.Run)
		}
		lead = append(lead, retain.New(keep).Run)
	}
	o.Log.Info("collecting", "topic", cfg.Topic, "group", cfg.Group)
	return consume.Run(ctx, consume.Config{
		Kafka: cfg.Kafka, Topic: cfg.Topic, Group: cfg.Group, DeadLetterTopic: cfg.DeadLetterTopic,
		MaxRows: cfg.Block.MaxRows, MaxWait: cfg.Block.MaxWait, MaxBytes: int64(cfg.Block.MaxBytes),
		Verify: verify, Store: shards.put, Known: shards.known, Lead: together(lead),
		Ops: o, Stages: ops.StageLatency(o.Registry, "collector"),
	})
}

// together runs all of them, each until the context ends.
func together(all []func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		var running sync.WaitGroup
		for _, run := range all {
			running.Go(func() { run(ctx) })
		}
		running.Wait()
	}
}

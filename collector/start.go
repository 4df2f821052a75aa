package collector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/table"
)

// remindEvery is how often a service that waits says so again.
const remindEvery = 30 * time.Second

// await calls try until it succeeds, ctx ends (nil is returned then too) or the
// error is one that no waiting heals.
func await(ctx context.Context, o *ops.Ops, component string, hopeless func(error) bool, try func(context.Context) error) error {
	wait := backoff.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	said := time.Now()
	for {
		err := try(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			o.Ready(component, nil)
			return nil
		case hopeless(err):
			return err
		}
		o.Ready(component, err)
		if time.Since(said) >= remindEvery {
			o.Log.Warn("still waiting", "component", component, "reason", err)
			said = time.Now()
		}
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// openShards waits for ClickHouse, makes the database if there is none, and
// brings its schema to this version, on each shard. There are no connections when
// ctx has ended.
func openShards(ctx context.Context, cfg Config, o *ops.Ops) (conns []driver.Conn, err error) {
	for _, shard := range cfg.Cluster.shards(cfg.ClickHouse) {
		conn, err := cfg.Cluster.open(shard)
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, conn)
		err = await(ctx, o, "clickhouse", func(err error) bool {
			return errors.Is(err, clickhouse.ErrRefused) || errors.Is(err, clickhouse.ErrTLS) ||
				errors.Is(err, table.ErrNewer) || errors.Is(err, table.ErrChanged)
		}, func(ctx context.Context) error { return prepare(ctx, cfg, shard, conn) })
		if err != nil || ctx.Err() != nil {
			closeAll(conns)
			return nil, err
		}
	}
	return conns, nil
}

func closeAll(conns []driver.Conn) {
	for _, conn := range conns {
		conn.Close()
	}
}

// Migrate brings the database of cfg to the schema of this version; it makes the
// database if there is none. It does not wait for ClickHouse. In a cluster it
// does so on each replica of each shard.
func Migrate(ctx context.Context, cfg Config) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, server := range cfg.Cluster.servers(cfg.ClickHouse) {
		g.Go(func() error { return migrateServer(ctx, cfg, server) })
	}
	return g.Wait()
}

func migrateServer(ctx context.Context, cfg Config, server clickhouse.Config) error {
	conn, err := server.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := findDatabase(ctx, server); err != nil {
		return err
	}
	return server.Classify(cfg.Cluster.migrate(ctx, conn, cfg.ClickHouse))
}

func findDatabase(ctx context.Context, cfg clickhouse.Config) error {
	err := cfg.Check(ctx)
	if errors.Is(err, clickhouse.ErrNoDatabase) {
		err = createDatabase(ctx, cfg)
	}
	return err
}

// prepare makes sure that the tables of a shard are there.
func prepare(ctx context.Context, cfg Config, shard clickhouse.Config, conn driver.Conn) error {
	if err := findDatabase(ctx, shard); err != nil {
		return err
	}
	// A collector whose user may only write needs nobody's leave when the schema is there.
	pending := table.Check(ctx, conn)
	if !errors.Is(pending, table.ErrPending) {
		return shard.Classify(pending)
	}
	err := Migrate(ctx, cfg)
	if errors.Is(err, clickhouse.ErrRefused) {
		return kit.Hint(fmt.Errorf("%w, and user %q may not change it", pending, shard.Username),
			"run \"tapwatch-collector migrate\" with a user who may, such as migrator; this goes on by itself then")
	}
	return err
}

func createDatabase(ctx context.Context, cfg clickhouse.Config) error {
	name := cfg.Database
	if name == "" {
		name = clickhouse.DefaultDatabase
	}
	cfg.Database = "default"
	conn, err := cfg.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS {name:Identifier}", driver.NamedValue{Name: "name", Value: name}); err != nil {
		return fmt.Errorf("create database %s: %w", name, cfg.Classify(err))
	}
	return nil
}

// openTopics waits for Kafka and makes the topics that do not exist.
func openTopics(ctx context.Context, cfg Config, o *ops.Ops) error {
	return await(ctx, o, "kafka", func(err error) bool {
		return errors.Is(err, kafka.ErrRefused) || errors.Is(err, kafka.ErrTLS)
	}, func(ctx context.Context) error {
		if err := cfg.Kafka.Check(ctx); err != nil || cfg.Create.Partitions == 0 {
			return err
		}
		if err := cfg.Kafka.EnsureTopic(ctx, cfg.Topic, cfg.Create.Partitions, cfg.Create.Replication, nil); err != nil {
			return err
		}
		return cfg.Kafka.EnsureTopic(ctx, cfg.DeadLetterTopic, 1, cfg.Create.Replication, nil)
	})
}

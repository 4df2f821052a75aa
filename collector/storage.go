package collector

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/collector/retain"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/table"
)

// Open connects to the database of cfg, which must have the schema of this
// version, for commands. The caller closes it.
func Open(ctx context.Context, cfg Config) (driver.Conn, error) {
	if err := cfg.Cluster.single(); err != nil {
		return nil, err
	}
	conn, err := cfg.ClickHouse.Open()
	if err != nil {
		return nil, err
	}
	if err := cfg.ClickHouse.Check(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := cfg.ClickHouse.Classify(table.Check(ctx, conn)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Materialize gives the days that are stored the projections of this version's
// schema, see table.Materialize, and returns how many it made.
func Materialize(ctx context.Context, cfg Config) (int, error) {
	o, err := ops.New("collector", ops.Config{LogLevel: cfg.Ops.LogLevel, LogFormat: cfg.Ops.LogFormat})
	if err != nil {
		return 0, err
	}
	conn, err := Open(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return table.Materialize(ctx, conn, o.Log)
}

// Restore brings the database back from a backup of the database called name,
// and makes the collectors read Kafka from its beginning again: what the backup
// has is passed over, what it lacks and Kafka still holds is filled in. No
// collector may be running.
func Restore(ctx context.Context, cfg Config, place, name string) error {
	if err := cfg.Cluster.single(); err != nil {
		return err
	}
	conn, err := cfg.ClickHouse.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := findDatabase(ctx, cfg.ClickHouse); err != nil {
		return err
	}
	if err := retain.Restore(ctx, conn, place, name); err != nil {
		return err
	}
	if err := table.Migrate(ctx, conn); err != nil {
		return cfg.ClickHouse.Classify(err)
	}
	return forgetOffsets(ctx, cfg)
}

// forgetOffsets deletes the consumer group: its collectors begin at the first
// message that Kafka has, and suspect all that `batches` knows of.
func forgetOffsets(ctx context.Context, cfg Config) error {
	client, err := cfg.Kafka.Client()
	if err != nil {
		return err
	}
	defer kafka.CloseIdle(client)
	answer, err := client.DeleteGroups(ctx, &kafkago.DeleteGroupsRequest{GroupIDs: []string{cfg.Group}})
	if err == nil {
		err = answer.Errors[cfg.Group]
	}
	switch {
	case err == nil, errors.Is(err, kafkago.GroupIdNotFound):
		return nil
	case errors.Is(err, kafkago.NonEmptyGroup):
		return kit.Hint(fmt.Errorf("delete group %s: %w", cfg.Group, err), "stop all collectors, and restore again into an empty database")
	}
	return fmt.Errorf("delete group %s: %w", cfg.Group, err)
}

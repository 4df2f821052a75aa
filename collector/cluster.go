package collector

import (
	"context"
	"errors"
	"fmt"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/collector/store"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/table"
)

// Cluster is a ClickHouse of several servers. Without a name there is one server.
//
// Partition p of the topic goes to shard p mod N, always, so all that is known of
// a batch is known where its rows are. The tables of a shard are in a database of
// their own; that of clickhouse.database has the Distributed tables.
type Cluster struct {
	Name       string   `conf:"name" help:"name of the cluster in ClickHouse's remote_servers; empty: one server"`
	Shards     []string `conf:"shards" help:"the shards in the order of remote_servers; of each the host:port of its replicas, with | between them. Neither order nor number may change"`
	Replicated bool     `conf:"replicated" help:"tables are ReplicatedMergeTree, by Keeper and the macros shard and replica"`
	Database   string   `conf:"database" help:"database of a shard's own tables; empty: clickhouse.database with _shard behind it"`
}

func (c Cluster) check() error {
	switch {
	case c.Name == "" && (len(c.Shards) > 0 || c.Replicated || c.Database != ""):
		return kit.Hint(errors.New("cluster.name: not given, although there is more of a cluster"), "give the name that remote_servers has for it")
	case c.Name != "" && len(c.Shards) == 0:
		return kit.Hint(errors.New("cluster.shards: none given"), "list the shards, in the order of remote_servers")
	}
	for i, s := range c.Shards {
		replicas := strings.Split(s, "|")
		if err := (clickhouse.Config{Addr: replicas}).Validate(); err != nil {
			return fmt.Errorf("cluster.shards %d: %w", i, err)
		}
		if len(replicas) > 1 && !c.Replicated {
			return kit.Hint(fmt.Errorf("cluster.shards %d: %d replicas without cluster.replicated", i, len(replicas)), "set cluster.replicated: true")
		}
	}
	return nil
}

// single refuses what has to be done on each shard by itself.
func (c Cluster) single() error {
	if c.Name == "" {
		return nil
	}
	return kit.Hint(errors.New("this is done on one server at a time, and a cluster is configured"),
		"for each shard: --cluster.name= --cluster.shards= --cluster.replicated=false --cluster.database= --clickhouse.addr=HOST:PORT --clickhouse.database=DATABASE_shard")
}

// shards are the settings of each shard: its replicas, and its own database.
func (c Cluster) shards(all clickhouse.Config) []clickhouse.Config {
	if c.Name == "" {
		return []clickhouse.Config{all}
	}
	list := make([]clickhouse.Config, len(c.Shards))
	for i, s := range c.Shards {
		list[i] = all
		list[i].Addr, list[i].Database = strings.Split(s, "|"), c.own(all)
	}
	return list
}

// servers are the settings of each single server.
func (c Cluster) servers(all clickhouse.Config) (list []clickhouse.Config) {
	for _, shard := range c.shards(all) {
		if c.Name == "" {
			return []clickhouse.Config{shard}
		}
		for _, addr := range shard.Addr {
			server := shard
			server.Addr = []string{addr}
			list = append(list, server)
		}
	}
	return list
}

// own is the database of a shard, readers that of the Distributed tables.
func (c Cluster) own(all clickhouse.Config) string {
	if c.Database != "" {
		return c.Database
	}
	return readers(all) + "_shard"
}

func readers(all clickhouse.Config) string {
	if all.Database == "" {
		return clickhouse.DefaultDatabase
	}
	return all.Database
}

// open connects to a shard. With replicas, an insert is done when most have it,
// and what is counted is counted on one that has all of those.
func (c Cluster) open(shard clickhouse.Config) (driver.Conn, error) {
	if !c.Replicated {
		return shard.Open()
	}
	o, err := shard.Options()
	if err != nil {
		return nil, err
	}
	o.Settings = ch.Settings{"insert_quorum": "auto", "insert_quorum_parallel": 0, "select_sequential_consistency": 1}
	return clickhouse.Open(o)
}

// migrate makes the tables of one server.
func (c Cluster) migrate(ctx context.Context, conn driver.Conn, all clickhouse.Config) error {
	if c.Name == "" {
		return table.Migrate(ctx, conn)
	}
	make := table.Migrate
	if c.Replicated {
		make = table.MigrateReplica
	}
	if err := make(ctx, conn); err != nil {
		return err
	}
	return table.Distribute(ctx, conn, c.Name, readers(all))
}

// shards stores each partition's blocks on its own shard.
type shards []*store.Store

func (s shards) of(partition int) *store.Store { return s[partition%len(s)] }

func (s shards) put(ctx context.Context, b *consume.Block) error {
	return s.of(b.Partition).Put(ctx, b)
}

func (s shards) known(ctx context.Context, topic string, partition int) (int64, error) {
	return s.of(partition).Known(ctx, topic, partition)
}

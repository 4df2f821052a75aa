package collector

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector/enrich"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// know reads what flows are enriched with, and goes on reading it until stop is
// called. It waits for the first reading, but not for long.
func know(ctx context.Context, cfg enrich.Config, o *ops.Ops) (known *enrich.Enricher, stop func(), err error) {
	if known, err = enrich.New(cfg, o); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { known.Run(ctx) })
	known.Loaded(ctx)
	return known, func() {
		cancel()
		running.Wait()
	}, nil
}

// EnrichAgain enriches stored flows from the first to the last day with what
// the configuration names now, shard by shard; zero times are the first and last
// day there is. dry only says what there is to do. done is called for each day
// of each shard.
func EnrichAgain(ctx context.Context, cfg Config, from, to time.Time, dry bool, done func(enrich.Day)) error {
	if cfg.Cluster.Replicated {
		return kit.Hint(errors.New("enrich: not with replicas: what the rows are compared with is on one server only"),
			"replicated flows are enriched when they are stored, only")
	}
	known, err := Known(ctx, cfg)
	if err != nil {
		return err
	}
	for _, shard := range cfg.Cluster.shards(cfg.ClickHouse) {
		if err := shard.Check(ctx); err != nil {
			return err
		}
		conn, err := cfg.Cluster.open(shard)
		if err != nil {
			return err
		}
		err = enrichShard(ctx, known, conn, from, to, dry, done)
		if err = errors.Join(err, conn.Close()); err != nil {
			return shard.Classify(err)
		}
	}
	return nil
}

func enrichShard(ctx context.Context, known *enrich.Enricher, conn driver.Conn, from, to time.Time, dry bool, done func(enrich.Day)) error {
	if !dry {
		return known.Again(ctx, conn, from, to, done)
	}
	days, err := known.Stale(ctx, conn, from, to)
	for _, d := range days {
		done(d)
	}
	return err
}

// Known reads once what the configuration names.
func Known(ctx context.Context, cfg Config) (*enrich.Enricher, error) {
	quiet := cfg.Ops
	quiet.Listen = ""
	o, err := ops.New("collector", quiet)
	if err != nil {
		return nil, err
	}
	known, err := enrich.New(cfg.Enrich, o)
	if err != nil {
		return nil, err
	}
	known.Reload(ctx)
	return known, nil
}

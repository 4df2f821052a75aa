package collector

import (
	"context"
	"sync"
	"time"

	"github.com/tapwatch/tapwatch/collector/enrich"
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
// the configuration names now; zero times are the first and last day there is.
// dry only says what there is to do. done is called for each day.
func EnrichAgain(ctx context.Context, cfg Config, from, to time.Time, dry bool, done func(enrich.Day)) error {
	conn, err := cfg.ClickHouse.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := cfg.ClickHouse.Check(ctx); err != nil {
		return err
	}
	known, err := Known(ctx, cfg)
	if err != nil {
		return err
	}
	if !dry {
		return cfg.ClickHouse.Classify(known.Again(ctx, conn, from, to, done))
	}
	days, err := known.Stale(ctx, conn, from, to)
	if err != nil {
		return cfg.ClickHouse.Classify(err)
	}
	for _, d := range days {
		done(d)
	}
	return nil
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

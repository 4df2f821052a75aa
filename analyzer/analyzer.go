// Package analyzer judges stored flows: detectors over windows of traffic time,
// alerts with their proof, notifications, and the console. In comes what the
// collector has stored in ClickHouse; out go rows of alerts, job_runs and
// deliveries, messages to the sinks, and the pages and API of the console, reports, and calls of the hooks that respond.
package analyzer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/analyzer/console"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/notify"
	"github.com/tapwatch/tapwatch/analyzer/report"
	"github.com/tapwatch/tapwatch/analyzer/respond"
	"github.com/tapwatch/tapwatch/analyzer/schedule"
	"github.com/tapwatch/tapwatch/analyzer/schedule/lease"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/table"
)

// Run analyses until ctx ends, and returns nil then. It waits for ClickHouse and
// for the collector to have made the tables; until then it is not ready.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	o, err := ops.New("analyzer", cfg.Ops)
	if err != nil {
		return err
	}
	if err := o.Listen(); err != nil {
		return err
	}
	conn, err := cfg.ClickHouse.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	detectors, err := AllDetectors(cfg)
	if err != nil {
		return err
	}
	cfg.Console.Inside = cfg.Detect.Inside
	page, err := console.New(described(cfg.Console, detectors), conn, o.Log, o.Registry)
	if err != nil {
		return err
	}
	if err := page.Listen(); err != nil {
		return err
	}
	notifier, err := notify.New(cfg.Notify, conn, o.Log, o.Registry)
	if err != nil {
		return err
	}
	responder, err := respond.New(cfg.Respond, conn, cfg.Detect.Inside, cfg.ClickHouse.Addr, o.Log, o.Registry)
	if err != nil {
		return err
	}
	maker, err := Reports(cfg, conn)
	if err != nil {
		return err
	}
	reports, err := report.NewKeeper(maker, o.Log, o.Registry)
	if err != nil {
		return err
	}
	stages := ops.StageLatency(o.Registry, "analyzer")
	o.Ready("clickhouse", errors.New("not looked at yet"))

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.Serve(ctx) })
	g.Go(func() error { return page.Serve(ctx) })
	g.Go(func() error {
		if err := migrated(ctx, cfg, conn, o); err != nil {
			return stopped(ctx, err)
		}
		hold := lease.New(lease.DefaultConfig(), "analyzer", conn, o.Log, o.Registry)
		notifier.While(hold.Held)
		g.Go(func() error { return notifier.Run(ctx) })
		g.Go(func() error { return responder.Run(ctx, hold.Held) })
		g.Go(func() error { return reports.Run(ctx, hold.Held) })
		s := schedule.New(cfg.Schedule, conn, detectors, o.Log, o.Registry, stages)
		s.While(hold.Held)
		keep(cfg, conn, s.Alerts(), o).run(ctx, g, hold)
		err := s.Run(ctx, func(err error) {
			if err != nil {
				err = cfg.ClickHouse.Classify(err)
			}
			o.Ready("clickhouse", err)
		})
		return stopped(ctx, err)
	})
	return g.Wait()
}

// described tells the console what runs.
func described(cfg console.Config, detectors []detect.Detector) console.Config {
	for _, d := range detectors {
		i := d.Info()
		cfg.Detectors = append(cfg.Detectors, console.Detector{Name: i.Name, Version: i.Version, Title: i.Title, Doc: i.Text(), Techniques: i.Techniques})
	}
	return cfg
}

// stopped is nil when the work ended because it was asked to.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// migrated waits until the tables are those of this build. It returns an error
// only when waiting cannot help, or ctx ends.
func migrated(ctx context.Context, cfg Config, conn driver.Conn, o *ops.Ops) error {
	retry := backoff.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := table.Check(ctx, conn)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, table.ErrPending):
			err = kit.Hint(err, "the collector makes the tables: start it")
		case errors.Is(err, table.ErrNewer), errors.Is(err, table.ErrChanged):
			return kit.Hint(fmt.Errorf("open tables: %w", err), "run the same version of collector and analyzer")
		default:
			err = cfg.ClickHouse.Classify(err)
		}
		o.Ready("clickhouse", err)
		if err := retry.Wait(ctx); err != nil {
			return err
		}
	}
}

// Catchup judges everything that is stored, as if every window were closed, and
// returns when nothing is left to judge. It serves no console and sends nothing:
// it is for captures that have been read to their end.
func Catchup(ctx context.Context, cfg Config) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	o, err := ops.New("analyzer", ops.Config{LogLevel: cfg.Ops.LogLevel, LogFormat: cfg.Ops.LogFormat})
	if err != nil {
		return err
	}
	conn, err := cfg.ClickHouse.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := table.Check(ctx, conn); err != nil {
		return fmt.Errorf("open tables: %w", cfg.ClickHouse.Classify(err))
	}
	detectors, err := AllDetectors(cfg)
	if err != nil {
		return err
	}
	s := schedule.New(cfg.Schedule, conn, detectors, o.Log, nil, nil)
	k := keep(cfg, conn, s.Alerts(), o)
	if err := s.Catchup(ctx); err != nil {
		return err
	}
	return k.pass(ctx)
}

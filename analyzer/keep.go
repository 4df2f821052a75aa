package analyzer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/catalogue"
	"github.com/tapwatch/tapwatch/analyzer/exclusion"
	"github.com/tapwatch/tapwatch/analyzer/incident"
	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/analyzer/retro"
	"github.com/tapwatch/tapwatch/analyzer/rule"
	"github.com/tapwatch/tapwatch/analyzer/schedule/lease"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// keepEvery is how often exclusions, cases and new indicators are looked after.
const keepEvery = 10 * time.Second

// Rules is where rules of one's own are.
type Rules struct {
	Dir string `conf:"dir" help:"directory of detectors in YAML and of Sigma rules; empty: none"`
}

// load reads the rules. One that is wrong is an error: a detector that is
// silently missing finds nothing.
func (r Rules) load() ([]detect.Detector, error) {
	if r.Dir == "" {
		return nil, nil
	}
	if info, err := os.Stat(r.Dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("rules.dir: %s is no directory that can be read: %w", r.Dir, err)
	}
	rules, wrong := rule.Load(os.DirFS(r.Dir), query.New())
	if len(wrong) > 0 {
		return nil, fmt.Errorf("rules: %w", errors.Join(wrong...))
	}
	return rule.Detectors(rules), nil
}

// AllDetectors are those of the catalogue and the rules of one's own.
func AllDetectors(cfg Config) ([]detect.Detector, error) {
	rules, err := cfg.Rules.load()
	return append(catalogue.All(cfg.Detect), rules...), err
}

// keepers look after alerts besides the scheduler.
type keepers struct {
	exclusions *exclusion.Keeper
	cases      *incident.Keeper
	sweeps     *retro.Sweeper
}

// keep makes the keepers of a store of alerts, and has it ask them.
func keep(cfg Config, conn driver.Conn, alerts *alert.Store, o *ops.Ops) keepers {
	k := keepers{
		exclusions: exclusion.NewKeeper(conn, alerts, cfg.Detect.Inside, o.Log, o.Registry),
		cases:      incident.NewKeeper(cfg.Cases, conn, alerts, cfg.Detect.Inside, o.Log, o.Registry),
		sweeps:     retro.New(conn, alerts, o.Log, o.Registry),
	}
	alerts.Before(k.exclusions.Before)
	return k
}

// run works while the lease is held, until ctx ends.
func (k keepers) run(ctx context.Context, g *errgroup.Group, l *lease.Lease) {
	g.Go(func() error { return l.Run(ctx) })
	g.Go(func() error { return k.exclusions.Run(ctx, keepEvery, l.Held) })
	g.Go(func() error { return k.cases.Run(ctx, keepEvery, l.Held) })
	g.Go(func() error { return k.sweeps.Run(ctx, keepEvery, l.Held) })
}

// pass does once what run does again and again.
func (k keepers) pass(ctx context.Context) error {
	if _, err := k.exclusions.Pass(ctx); err != nil {
		return err
	}
	return k.cases.Pass(ctx)
}

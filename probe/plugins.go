package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/ipfix"
	"github.com/tapwatch/tapwatch/probe/plugin"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// exporters are the ways out beside Kafka: those of the configuration and those of cfg.Plugins.
type exporters struct {
	list []plugin.Exporter
	stop context.CancelFunc
	g    errgroup.Group
}

// startExporters starts them. failed is called when one ends early. They go on until close.
func startExporters(ctx context.Context, cfg Config, log *slog.Logger, reg prometheus.Registerer, failed func()) (*exporters, error) {
	e := &exporters{list: slices.Clone(cfg.Plugins.Exporters)}
	if cfg.IPFIX.Address != "" {
		x, err := ipfix.New(cfg.IPFIX, log, reg)
		if err != nil {
			return nil, err
		}
		e.list = append(e.list, x)
	}
	if cfg.Stream.Address != "" {
		s, err := plugin.NewStream(cfg.Stream, log, reg)
		if err != nil {
			return nil, err
		}
		e.list = append(e.list, s)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	for _, x := range e.list {
		e.g.Go(func() error {
			err := x.Run(running)
			if running.Err() == nil {
				failed()
				return fmt.Errorf("exporter %s ended: %w", x.Name(), errors.Join(err, errEarly))
			}
			return err
		})
	}
	return e, nil
}

var errEarly = errors.New("before the capture")

// open puts the sinks of a worker behind first.
func (e *exporters) open(w plugin.Worker, first sink) (sink, func() error, error) {
	t := &tee{first: first}
	for _, x := range e.list {
		s, err := x.Open(w)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("open exporter %s: %w", x.Name(), err), t.close())
		}
		t.more = append(t.more, s)
	}
	if len(t.more) == 0 {
		return first, t.close, nil
	}
	return t, t.close, nil
}

// close lets the exporters send what is left. All sinks are closed before.
func (e *exporters) close() error {
	e.stop()
	return e.g.Wait()
}

// tee hands each record to several sinks.
type tee struct {
	first sink
	more  []plugin.Sink
}

func (t *tee) Add(r *flow.Record) {
	t.first.Add(r)
	for _, s := range t.more {
		s.Add(r)
	}
}

func (t *tee) Cut() {
	t.first.Cut()
	for _, s := range t.more {
		s.Cut()
	}
}

func (t *tee) close() (err error) {
	for _, s := range t.more {
		err = errors.Join(err, s.Close())
	}
	return err
}

// read reads the files that the configuration names: services, and patterns,
// whose recognisers join those of cfg.Plugins.
func (cfg *Config) read() (err error) {
	if cfg.services, err = dpi.LoadServices(cfg.Services...); err != nil {
		return err
	}
	cfg.recognisers = slices.Clone(cfg.Plugins.Recognisers)
	for _, path := range cfg.Patterns {
		more, err := plugin.ReadPatterns(path)
		if err != nil {
			return err
		}
		cfg.recognisers = append(cfg.recognisers, more...)
	}
	return nil
}

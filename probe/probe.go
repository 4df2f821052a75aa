// Package probe turns packets into flow records and publishes them: frames from
// interfaces or files, through decoder, flow table and recognisers, as columnar
// batches into a spool on disk, and from there to Kafka. Run wires it up, top to
// bottom; Flows is the same chain up to the records, without Kafka.
package probe

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/confine"
	"github.com/tapwatch/tapwatch/probe/export"
	"github.com/tapwatch/tapwatch/probe/keep"
	"github.com/tapwatch/tapwatch/probe/plugin"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// Run captures until the files are read and published, or until ctx ends; then
// it publishes what is spooled for at most cfg.Spool.Drain. Nothing that was
// spooled is lost: the next start publishes it.
func Run(ctx context.Context, cfg Config) error { return RunReloading(ctx, cfg, nil) }

// RunReloading is Run that takes another configuration for each one that comes
// through reloads, as far as a running probe can: filter, sampling, timeouts
// and max_flows. What else has changed is logged and waits for a restart. No
// flow is lost.
func RunReloading(ctx context.Context, cfg Config, reloads <-chan Config) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	if err := cfg.read(); err != nil {
		return err
	}
	o, err := ops.New("probe", cfg.Ops)
	if err != nil {
		return err
	}
	sources, err := open(cfg, o.Log)
	if err != nil {
		return err
	}
	defer sources.Close()
	if err := sources.confine(cfg, o.Log); err != nil {
		return err
	}
	queue := spool.DefaultConfig()
	queue.Dir, queue.MaxBytes, queue.KeyFile = cfg.Spool.Dir, int64(cfg.Spool.MaxBytes), cfg.Spool.KeyFile
	sp, err := spool.Open(queue, o.Log, o.Registry)
	if err != nil {
		return err
	}
	defer sp.Close()
	store, err := signed(cfg, sp)
	if err != nil {
		return err
	}
	var kept *keep.Ring
	if cfg.Keep.Dir != "" {
		if kept, err = keep.Open(cfg.Keep, o.Log, o.Registry); err != nil {
			return err
		}
		defer kept.Close()
	}
	var fetching *keep.Server
	if kept != nil && cfg.Keep.API.Listen != "" {
		if fetching, err = keep.NewServer(kept, o.Log, o.Registry); err != nil {
			return err
		}
	}

	// Capture ends first, then the publisher, then the metrics.
	publishing, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var g errgroup.Group
	g.Go(func() error { return o.Serve(serving) })
	if fetching != nil {
		g.Go(func() error { return fetching.Serve(serving) })
	}
	g.Go(func() error { defer stopServing(); return publish(publishing, cfg, sp, o) })
	g.Go(func() error {
		defer stopPublishing()
		err := sources.run(ctx, cfg, reloads, store, kept, o)
		if len(sources.files) > 0 {
			published(ctx, sp)
		}
		return err
	})
	return g.Wait()
}

// published waits until the spool is empty or ctx ends: whoever gives files
// wants all of them to arrive, however long Kafka takes.
func published(ctx context.Context, sp *spool.Spool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for sp.Stats().Records > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func publish(ctx context.Context, cfg Config, sp *spool.Spool, o *ops.Ops) error {
	transport, err := cfg.Kafka.Transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	err = spool.Publish(ctx, sp, spool.PublisherConfig{Brokers: cfg.Kafka.Brokers, Transport: transport, Topic: cfg.Topic, DrainTimeout: cfg.Spool.Drain}, o.Log, o.Registry)
	return ignoreCanceled(err)
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// input is either one ring per worker, or a list of files for one worker.
type input struct {
	rings []capture.Source
	files []string
}

func (in *input) Close() {
	for _, s := range in.rings {
		s.Close()
	}
}

// open opens the interfaces, so that their errors show before anything starts.
func open(cfg Config, log *slog.Logger) (*input, error) {
	in := &input{}
	c := cfg.Capture
	var err error
	if in.files, err = expand(c.Files); err != nil {
		return nil, err
	}
	if state, resumed := confine.Resumed(); resumed && cfg.Confine.Enabled {
		in.rings, err = capture.Inherit(state, log)
		return in, err
	}
	clock, err := capture.ParseClock(c.Clock)
	if err != nil {
		return nil, err
	}
	for _, name := range c.Interfaces {
		rings, err := capture.OpenLive(name, capture.LiveOptions{Workers: c.Workers, BlockSize: int(c.BlockSize), Blocks: c.Blocks,
			BlockTime: c.BlockTime, Snaplen: c.Snaplen, NoPromisc: !c.Promiscuous, Filter: c.Filter, Clock: clock, Log: log})
		if err != nil {
			in.Close()
			return nil, err
		}
		in.rings = append(in.rings, rings...)
	}
	return in, nil
}

// expand lists the captures in files and directories, in order of time.
func expand(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		if path == "-" {
			files = append(files, path)
			continue
		}
		list, err := capture.ListCaptures(path)
		if err != nil {
			return nil, err
		}
		files = append(files, list...)
	}
	return files, nil
}

// run starts one worker per ring, or cfg.Capture.Workers for all files, and
// returns when all have handed everything to the spool.
func (in *input) run(ctx context.Context, cfg Config, reloads <-chan Config, store export.Store, kept *keep.Ring, o *ops.Ops) error {
	m := newMeters(o.Registry)
	set := newSettings(cfg.limits())
	capturing, stopCapturing := context.WithCancel(ctx)
	defer stopCapturing()
	out, err := startExporters(ctx, cfg, o.Log, o.Registry, stopCapturing)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(capturing)
	workers := len(in.rings)
	if len(in.files) > 0 {
		workers = min(cfg.Capture.Workers, runtime.NumCPU())
	}
	all := make([]*worker, workers)
	for i := range all {
		w, err := newWorker(cfg, len(in.files) == 0, set, o.Log)
		if err != nil {
			return errors.Join(err, out.close())
		}
		if kept != nil {
			w.keep = kept.Writer(i)
			w.keep.Wait = !w.live
			defer w.keep.Close()
		}
		w.metrics = m.of(strconv.Itoa(i))
		all[i] = w
	}
	start := func(number int, read func(context.Context, *worker) error) {
		w := all[number]
		g.Go(func() error {
			ex := export.New(export.Config{Probe: cfg.Name, Site: cfg.Site, Worker: uint32(number), Live: w.live}, w.ledger, store, o.Log, w.state)
			sink, closeSinks, err := out.open(plugin.Worker{Probe: cfg.Name, Site: cfg.Site, Number: uint32(number), Live: w.live}, ex)
			if err != nil {
				return errors.Join(err, ex.Close())
			}
			w.sink = sink
			err = read(ctx, w)
			w.finish()
			return errors.Join(err, closeSinks(), ex.Close())
		})
	}
	for i, ring := range in.rings {
		start(i, func(ctx context.Context, w *worker) error {
			if cpus := cfg.Capture.CPUs; len(cpus) > 0 {
				release, err := capture.Pin(cpus[i%len(cpus)])
				if err != nil {
					return err
				}
				defer release()
			}
			return w.read(ctx, ring)
		})
	}
	switch {
	case len(in.files) == 0:
	case workers == 1:
		start(0, func(ctx context.Context, w *worker) error { return w.readFiles(ctx, in.files) })
	default:
		s := newSpread(workers, set, o.Log)
		for i := range workers {
			start(i, func(_ context.Context, w *worker) error { s.work(i, w); return nil })
		}
		g.Go(func() error { return s.read(ctx, in.files) })
	}
	o.Ready("capture", nil)
	reloading, stop := context.WithCancel(ctx)
	defer stop()
	go in.reload(reloading, cfg, reloads, set, o.Log)
	err = g.Wait()
	return errors.Join(err, out.close())
}

// CheckSources opens each interface and capture of cfg and closes it again, so
// that what cannot be read at all is said before anything starts.
func CheckSources(cfg Config) error {
	in, err := open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer in.Close()
	for _, path := range in.files {
		if path == "-" {
			continue
		}
		src, err := capture.OpenFile(path, capture.FileOptions{Filter: cfg.Capture.Filter})
		if err != nil {
			return err
		}
		src.Close()
	}
	return nil
}

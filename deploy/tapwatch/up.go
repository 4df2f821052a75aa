package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func upCommand() *cobra.Command {
	svc := service.Service[Config]{Name: "up", Default: DefaultConfig}
	var files, interfaces []string
	var filter, listen string
	var fresh bool
	cmd := &cobra.Command{
		Use:   "up [-r FILE|DIR] [-i IFACE] [-f 'BPF']",
		Short: "Start Kafka, ClickHouse, collector, analyzer and probe here, with the console",
		Long: `Start embedded Kafka and ClickHouse, then collector, analyzer and probe with
their production configuration, and print the console's address. The state is
kept in --state across restarts. Ctrl-C ends everything in the order of the data.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := svc.Load(cmd)
			if err != nil {
				return err
			}
			c := &cfg.Probe.Capture
			c.Files, c.Interfaces = append(c.Files, files...), append(c.Interfaces, interfaces...)
			if filter != "" {
				c.Filter = filter
			}
			if listen != "" {
				cfg.Analyzer.Console.Listen = listen
			}
			cfg.Probe.Spool.Dir = filepath.Join(cfg.State, "spool")
			return up(cmd.Context(), cfg, fresh, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "read", "r", nil, "capture file or directory to read; may be repeated")
	f.StringArrayVarP(&interfaces, "interface", "i", nil, "network interface to listen on; may be repeated")
	f.StringVarP(&filter, "filter", "f", "", "BPF expression, as of tcpdump")
	f.StringVar(&listen, "listen", "", "host:port of the console")
	f.BoolVar(&fresh, "fresh", false, "begin with an empty state directory")
	svc.Flags(cmd)
	return cmd
}

// stopPatience is how long each stage may take to hand on what it has when
// Tapwatch stops; what is left is kept on disk for the next start.
const stopPatience = 10 * time.Second

func up(ctx context.Context, cfg Config, fresh bool, out io.Writer) (err error) {
	capturing := len(cfg.Probe.Capture.Files)+len(cfg.Probe.Capture.Interfaces) > 0
	if capturing {
		if err := cfg.Probe.Check(); err != nil {
			return service.Usage(err)
		}
		if err := probe.CheckSources(cfg.Probe); err != nil {
			return err
		}
	}
	log, err := ops.NewLogger(os.Stderr, "warn", "text")
	if err != nil {
		return err
	}
	unlock, err := lockState(cfg.State)
	if err != nil {
		return err
	}
	defer unlock()
	if fresh {
		for _, part := range []string{"kafka", "clickhouse", "spool"} {
			if err := os.RemoveAll(filepath.Join(cfg.State, part)); err != nil {
				return err
			}
		}
	}
	for _, p := range []struct{ flag, addr string }{{"listen", cfg.Analyzer.Console.Listen}, {"collector.ops.listen", cfg.Collector.Ops.Listen},
		{"analyzer.ops.listen", cfg.Analyzer.Ops.Listen}, {"probe.ops.listen", cfg.Probe.Ops.Listen}} {
		if err := free(ctx, p.flag, p.addr); err != nil {
			return err
		}
	}

	began := time.Now()
	say := func(part, format string, args ...any) {
		fmt.Fprintf(out, "%5.1fs  %-10s  %s\n", time.Since(began).Seconds(), part, fmt.Sprintf(format, args...))
	}
	s, err := startServers(ctx, cfg, log.With("service", "tapwatch"))
	if err != nil {
		return err
	}
	say("kafka", "ready on %s", s.kafka.Addr())
	say("clickhouse", "ready on %s, http://%s", s.clickhouse.Addr(), s.clickhouse.HTTPAddr())
	var judging, capture *running
	defer func() { err = errors.Join(err, s.stop(ctx, capture, judging, say)) }()

	s.startCollector(ctx)
	if err := s.collector.ready(ctx, "collector", s.cfg.Collector.Ops.Listen); err != nil {
		return stopped(ctx, err)
	}
	say("collector", "ready, http://%s/metrics", s.cfg.Collector.Ops.Listen)
	judging = start(ctx, analyzer.Run, s.cfg.Analyzer)
	if err := judging.ready(ctx, "analyzer", s.cfg.Analyzer.Ops.Listen); err != nil {
		return stopped(ctx, err)
	}
	say("analyzer", "ready, http://%s/metrics", s.cfg.Analyzer.Ops.Listen)
	say("console", "http://%s/", s.cfg.Analyzer.Console.Listen)
	var captured <-chan struct{}
	if capturing {
		capture = start(ctx, probe.Run, s.cfg.Probe)
		captured = capture.done
		say("probe", "capturing from %v, http://%s/metrics", append(cfg.Probe.Capture.Interfaces, cfg.Probe.Capture.Files...), s.cfg.Probe.Ops.Listen)
	} else {
		say("probe", "none: give -r FILE or -i IFACE, or send batches to %s", s.kafka.Addr())
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-captured:
			captured = nil
			if capture.err != nil {
				say("probe", "ended: %v", capture.err)
			} else {
				say("probe", "has read everything; the console stays up until Ctrl-C")
			}
			if capture.err != nil && len(cfg.Probe.Capture.Interfaces) > 0 {
				return nil // the error is returned when capture is ended
			}
		case <-s.collector.done:
			return fmt.Errorf("collector ended: %w", s.collector.err)
		case <-judging.done:
			return fmt.Errorf("analyzer ended: %w", judging.err)
		}
	}
}

// stopped hides the error of a wait that Ctrl-C ended.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// stop ends everything in the order of the data: the probe empties its flow
// table and spool into Kafka, the collector stores what is in Kafka, then the
// rest ends. What does not make it in time is on disk and goes on next time.
func (s *stack) stop(ctx context.Context, capture, judging *running, say func(string, string, ...any)) error {
	var errs []error
	step := func(part string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", part, err))
			return
		}
		say(part, "stopped")
	}
	if capture != nil {
		step("probe", capture.end())
	}
	if s.collector != nil {
		if db, err := s.cfg.Analyzer.ClickHouse.Open(); err == nil {
			waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
			if err := s.drained(waiting, db); err != nil {
				say("collector", "goes on at the next start: %v", err)
			}
			cancel()
			db.Close()
		}
		step("collector", s.collector.end())
		s.collector = nil
	}
	if judging != nil {
		step("analyzer", judging.end())
	}
	step("clickhouse", s.clickhouse.Close())
	step("kafka", s.kafka.Close())
	s.clickhouse, s.kafka = nil, nil
	return errors.Join(errs...)
}

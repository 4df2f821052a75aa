package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func readCommand() *cobra.Command {
	var asJSON, verbose bool
	var filter string
	cmd := &cobra.Command{
		Use:   "read FILE|DIR",
		Short: "Send a capture through the whole chain in a temporary place and say what was found",
		Long: `Send a capture through the whole chain in a temporary place and say what was
found: top talkers, applications, alerts, and what became of every packet.

The exit code is 0 when the capture was read and every packet is accounted for,
1 when it could not be, and 2 for a wrong call.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return service.Usage(errors.New("one capture is needed: tapwatch read FILE"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			level := "warn"
			if verbose {
				level = "info"
			}
			cfg := DefaultConfig()
			cfg.Probe.Capture.Files, cfg.Probe.Capture.Filter = args, filter
			return read(cmd.Context(), cfg, level, asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().StringVarP(&filter, "filter", "f", "", "BPF expression, as of tcpdump")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the log of the services")
	return cmd
}

// drainPatience is how long read waits for the collector without giving up.
const drainPatience = 10 * time.Minute

func read(ctx context.Context, cfg Config, level string, asJSON bool, out io.Writer) error {
	// A capture that cannot be opened at all needs no servers to say so.
	if err := probe.CheckSources(cfg.Probe); err != nil {
		return err
	}
	return through(ctx, cfg, level, asJSON, out, func(s *stack) (damaged, err error) {
		// A file that is damaged half way is reported after what it held.
		return probe.Run(ctx, s.cfg.Probe), ctx.Err()
	})
}

// through starts a chain in a temporary place, has feed send something through
// it, and says what was found. What feed returns as damaged is reported after that.
func through(ctx context.Context, cfg Config, level string, asJSON bool, out io.Writer, feed func(*stack) (damaged, err error)) (err error) {
	log, err := ops.NewLogger(os.Stderr, level, "text")
	if err != nil {
		return err
	}
	if cfg.State, err = os.MkdirTemp("", "tapwatch-read-"); err != nil {
		return err
	}
	defer os.RemoveAll(cfg.State)
	temporary(&cfg, level)
	s, err := startServers(ctx, cfg, log.With("service", "tapwatch"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.startCollector(ctx)

	damaged, err := feed(s)
	if err != nil {
		return err
	}
	db, err := s.cfg.Analyzer.ClickHouse.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	waiting, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	if err := s.drained(waiting, db); err != nil {
		return errors.Join(damaged, err)
	}
	if err := analyzer.Catchup(ctx, s.cfg.Analyzer); err != nil {
		return errors.Join(damaged, err)
	}
	found, err := ask(ctx, db)
	if err != nil {
		return errors.Join(damaged, err)
	}
	if asJSON {
		err = json.NewEncoder(out).Encode(found)
	} else {
		err = found.print(ctx, db, out)
	}
	return errors.Join(err, damaged, found.closed())
}

// temporary adapts cfg to a chain that lives as long as one capture.
func temporary(cfg *Config, level string) {
	cfg.Kafka = KafkaConfig{Partitions: 1, MaxBytes: -1}
	cfg.ClickHouse.Port, cfg.ClickHouse.HTTPPort = 0, 0
	cfg.Probe.Name = "read"
	cfg.Probe.Spool.Dir = cfg.State + "/spool"
	cfg.Probe.Spool.MaxBytes = 1 << 40 // what the disk holds
	cfg.Collector.Block.MaxWait = 200 * time.Millisecond
	for _, o := range []*ops.Config{&cfg.Probe.Ops, &cfg.Collector.Ops, &cfg.Analyzer.Ops} {
		o.Listen, o.LogLevel = "", level
	}
}

// closed says whether every packet and every record is accounted for.
func (f *findings) closed() error {
	var lost uint64
	for _, n := range f.Lost {
		lost += n
	}
	if f.Packets != f.PacketsInFlows+lost || f.StoredRows+f.lostRecords != f.records {
		return kit.Hint(fmt.Errorf("the ledger does not close: %d packets seen, %d in flows, %d lost; %d records made, %d stored, %d lost",
			f.Packets, f.PacketsInFlows, lost, f.records, f.StoredRows, f.lostRecords), "this is a defect of Tapwatch; please report it with the capture")
	}
	return nil
}

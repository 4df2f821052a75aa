package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func flowsCommand() *cobra.Command {
	cfg := probe.DefaultConfig()
	var path, format string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "flows -r FILE|DIR | -i INTERFACE [-o FILE] [--format json|csv|batch|none]",
		Short: "Write the flow records of a capture or interface, without Kafka",
		Long: `Write the flow records of a capture, or of an interface until interrupted,
without Kafka: one record per line, with the
names and units of flow.proto, or the very batches that Kafka would get (each
after its length as four octets, big endian). The account of the packets goes
to standard error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(cfg.Capture.Files) == 0 && len(cfg.Capture.Interfaces) == 0 {
				return service.Usage(errors.New("a capture is needed: -r FILE, or -i INTERFACE"))
			}
			if err := cfg.Check(); err != nil {
				return service.Usage(err)
			}
			log, err := ops.NewLogger(os.Stderr, "warn", "text")
			if err != nil {
				return err
			}
			return flows(cmd, cfg, format, path, quiet, log)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&cfg.Capture.Files, "read", "r", nil, "capture file or directory, - for standard input; may be repeated")
	f.StringArrayVarP(&cfg.Capture.Interfaces, "interface", "i", nil, "interface to listen on instead; may be repeated")
	f.StringVarP(&path, "output", "o", "-", "file to write, - for standard output")
	f.StringVar(&format, "format", probe.FormatJSON, "json, csv, batch or none")
	f.StringVarP(&cfg.Capture.Filter, "filter", "f", "", "BPF expression, as of tcpdump")
	f.DurationVar(&cfg.Meter.ActiveTimeout, "active-timeout", cfg.Meter.ActiveTimeout, "a flow that goes on is cut into records of this length")
	f.DurationVar(&cfg.Meter.IdleTimeout, "idle-timeout", cfg.Meter.IdleTimeout, "a flow ends when nothing came for this long")
	f.DurationVar(&cfg.Meter.UnansweredTimeout, "unanswered-timeout", cfg.Meter.UnansweredTimeout, "the same for a flow that nothing answered")
	f.IntVar(&cfg.Meter.MaxFlows, "max-flows", cfg.Meter.MaxFlows, "flows open at once")
	f.TextVar(&cfg.Meter.MaxBytes, "max-bytes", cfg.Meter.MaxBytes, "memory for open flows in each worker, a `size` such as 256MiB")
	f.IntVar(&cfg.Capture.Workers, "workers", 1, "workers that share the packets; with more than one, records come in another order")
	f.Uint32Var(&cfg.Capture.SampleFlows, "sample-flows", 0, "look at one flow in so many, whole")
	f.Uint32Var(&cfg.Capture.SamplePackets, "sample-packets", 0, "look at one packet in so many; counters are scaled up")
	f.BoolVarP(&quiet, "quiet", "q", false, "no account on standard error")
	return cmd
}

func flows(cmd *cobra.Command, cfg probe.Config, format, path string, quiet bool, log *slog.Logger) (err error) {
	out := cmd.OutOrStdout()
	if path != "-" {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	// Little is thrown away here: the heap is what is open, so looking through it
	// seldom costs next to no memory.
	debug.SetGCPercent(400)
	totals, err := probe.Flows(cmd.Context(), cfg, format, out, log)
	if !quiet && (err == nil || totals.SeenPackets > 0) {
		account(cmd.ErrOrStderr(), totals)
	}
	return err
}

func account(w io.Writer, t ledger.Totals) {
	fmt.Fprintf(w, "%d packets, %d bytes: %d packets in %d flow records", t.SeenPackets, t.SeenFrameBytes, t.FlowPackets, t.Records)
	for _, reason := range slices.Sorted(maps.Keys(t.Losses)) {
		fmt.Fprintf(w, ", %d %s", t.Losses[reason].Packets, reason)
	}
	fmt.Fprintln(w)
}

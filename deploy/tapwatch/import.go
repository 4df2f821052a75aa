package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func importCommand() *cobra.Command {
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "import FORMAT FILE|DIR...",
		Short: "Send logs through the whole chain in a temporary place and say what was found",
		Long: `Send logs of Zeek, Suricata, Argus or routers through the whole chain in a temporary place and
say what was found, as read does with a capture:

  tapwatch import zeek /nsm/zeek/logs/2026-11-20

To keep what is imported, start tapwatch up and use tapwatch-analyzer import, which also knows
the formats.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return service.Usage(errors.New("a format and files are needed: tapwatch import zeek conn.log dns.log"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			level := "warn"
			if verbose {
				level = "info"
			}
			return importLogs(cmd.Context(), DefaultConfig(), level, args[0], args[1:], asJSON, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the log of the services")
	return cmd
}

// importLogs is read for logs.
func importLogs(ctx context.Context, cfg Config, level, format string, files []string, asJSON bool, out, said io.Writer) error {
	return through(ctx, cfg, level, asJSON, out, func(s *stack) (damaged, err error) {
		from := analyzer.DefaultImportConfig()
		from.Kafka, from.Topic, from.Ops = s.cfg.Probe.Kafka, s.cfg.Probe.Topic, s.cfg.Probe.Ops
		tally, err := analyzer.Import(ctx, from, format, files)
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(said, tally.String())
		return nil, nil
	})
}

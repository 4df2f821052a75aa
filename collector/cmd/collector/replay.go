package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func replay(s service.Service[collector.Config]) *cobra.Command {
	reason := flow.ErrNewerVersion.Error()
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Feed messages of the dead-letter topic to the collector again, such as those of a newer version after an upgrade",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			r, err := collector.Replay(cmd.Context(), cfg, reason)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d messages replayed, %d of other reasons left, %d still unreadable, %d seen twice\n",
				r.Replayed, r.Other, r.Unreadable, r.Repeated)
			return err
		},
	}
	cmd.Flags().StringVar(&reason, "reason", reason, "which messages; \"all\": whatever can be read now")
	s.Flags(cmd)
	return cmd
}

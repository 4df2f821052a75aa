package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func migrate(s service.Service[collector.Config]) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database to the schema of this version, and exit",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			if err := collector.Migrate(cmd.Context(), cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the schema is up to date")
			return err
		},
	}
	s.Flags(cmd)
	return cmd
}

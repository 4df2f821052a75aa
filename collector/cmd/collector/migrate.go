package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func migrate(s service.Service[collector.Config]) *cobra.Command {
	materialize := false
	cmd := &cobra.Command{
		Use:   "migrate [--materialize]",
		Short: "Bring the database to the schema of this version, and exit",
		Long: `Bring the database to the schema of this version, and exit. Days that were
stored before a projection was added answer as before; --materialize gives it
to them, one day after the other, while everything goes on. It may be ended and
repeated.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			if err := collector.Migrate(cmd.Context(), cfg); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), "the schema is up to date"); err != nil || !materialize {
				return err
			}
			made, err := collector.Materialize(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d projections of days made\n", made)
			return err
		},
	}
	s.Flags(cmd)
	cmd.Flags().BoolVar(&materialize, "materialize", false, "give stored days the projections that new ones have")
	return cmd
}

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/collector/enrich"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func enriching(s service.Service[collector.Config]) *cobra.Command {
	var from, to string
	var dry bool
	cmd := &cobra.Command{
		Use:   "enrich",
		Short: "Enrich stored flows again, with what the configuration names now, day by day",
		Long: "Enrich stored flows again, with what the configuration names now, day by day, the newest first.\n" +
			"It may be interrupted and started again: days that are done are passed over.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			first, err := date(from)
			if err != nil {
				return err
			}
			last, err := date(to)
			if err != nil {
				return err
			}
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			days, rows := 0, uint64(0)
			err = collector.EnrichAgain(cmd.Context(), cfg, first, last, dry, func(d enrich.Day) {
				days++
				rows += d.Rows
				if dry {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %d rows to do\n", d.Date.Format(time.DateOnly), d.Rows)
					return
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d rows in %s\n", d.Date.Format(time.DateOnly), d.Rows, d.Took.Round(time.Millisecond))
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d days, %d rows\n", days, rows)
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "first day, 2026-11-01; without it the first there is")
	cmd.Flags().StringVar(&to, "to", "", "last day, included; without it the last there is")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what there is to do")
	s.Flags(cmd)
	cmd.AddCommand(enrichCheck(s), enrichLookup(s))
	return cmd
}

func date(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, service.Usage(fmt.Errorf("%q is not a day such as 2026-11-01", text))
	}
	return t, nil
}

func enrichCheck(s service.Service[collector.Config]) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read the files and feeds of the configuration and say what is in them: exit code 0 or 1",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			known, err := collector.Known(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return known.Describe(cmd.OutOrStdout())
		},
	}
	s.Flags(cmd)
	return cmd
}

func enrichLookup(s service.Service[collector.Config]) *cobra.Command {
	site := ""
	cmd := &cobra.Command{
		Use:   "lookup VALUE ...",
		Short: "Say what is known of addresses, names and fingerprints",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, values []string) error {
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			known, err := collector.Known(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			for _, v := range values {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", v, known.Lookup(site, v)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&site, "at", "", "site where the address is seen")
	s.Flags(cmd)
	return cmd
}

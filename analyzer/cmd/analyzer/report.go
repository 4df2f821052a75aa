package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/analyzer/report"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func reportCommand(s service.Service[analyzer.Config]) *cobra.Command {
	var day, dir, format string
	cmd := &cobra.Command{
		Use:   "report daily|weekly|monthly | incident ID",
		Short: "Write a report of a day, week or month, or of one incident",
		Long: `Write a report of a day, week or month, or of one incident:

  report daily --day 2026-11-01 --dir .       daily-2026-11-01.html, and CSV for each table
  report monthly                              the last whole month, HTML on standard output
  report incident 4f2a… --format json         timeline, flows, proof

A report is made of what is stored; one that is made again replaces its files. report.time_zone says when days begin.`,
		Args: cobra.RangeArgs(1, 2),
	}
	flags := cmd.Flags()
	flags.StringVar(&day, "day", "", "a day of the period, 2026-11-01; default: the last whole one")
	flags.StringVar(&dir, "dir", "", "directory to write to; default: HTML on standard output")
	flags.StringVar(&format, "format", "html", "of an incident: html or json")
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := s.Load(cmd)
		if err != nil {
			return err
		}
		conn, err := cfg.ClickHouse.Open()
		if err != nil {
			return err
		}
		defer conn.Close()
		m, err := analyzer.Reports(cfg, conn)
		if err != nil {
			return err
		}
		if args[0] == "incident" {
			if len(args) != 2 {
				return service.Usage(errors.New("report incident: of which id?"))
			}
			i, err := m.Incident(cmd.Context(), args[1])
			switch {
			case err != nil:
				return err
			case format == "json":
				return i.JSON(cmd.OutOrStdout())
			case format == "html":
				return i.HTML(cmd.OutOrStdout())
			}
			return service.Usage(fmt.Errorf("format %q: neither html nor json", format))
		}
		if len(args) == 2 {
			return service.Usage(fmt.Errorf("report %s: takes no %q, see --day", args[0], args[1]))
		}
		p, err := period(args[0], day, m.Location())
		if err != nil {
			return service.Usage(err)
		}
		r, err := m.Make(cmd.Context(), p)
		if err != nil {
			return err
		}
		if dir == "" {
			return r.HTML(cmd.OutOrStdout())
		}
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		return report.Write(dir, r)
	}
	return cmd
}

// period is the one that a day is in, or the last that is over.
func period(kind, day string, loc *time.Location) (report.Period, error) {
	if day != "" {
		t, err := time.ParseInLocation(time.DateOnly, day, loc)
		if err != nil {
			return report.Period{}, fmt.Errorf("day %q: write it as 2026-11-01", day)
		}
		return report.PeriodOf(kind, t.Add(12*time.Hour))
	}
	p, err := report.PeriodOf(kind, time.Now().In(loc))
	if err != nil {
		return p, err
	}
	return report.PeriodOf(kind, p.Start.Add(-12*time.Hour))
}

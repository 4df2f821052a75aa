package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/backtest"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

// trial is what a back-test is about, as flags have it.
type trial struct {
	last, from, to string
	rules          string
	propose        bool
	list           int
	excluded       criteria
}

func backtestCommand(s service.Service[analyzer.Config]) *cobra.Command {
	var t trial
	cmd := &cobra.Command{
		Use:   "backtest [DETECTOR...]",
		Short: "Say what detectors, rules or an exclusion would have said of stored traffic",
		Long: `Say what detectors, rules or an exclusion would have said of stored traffic: incidents a day,
hosts, what is raised already, and the time it takes. Nothing is written. Parameters are those of the
configuration, so that a flag tries another value:

  backtest portscan_vertical --last 7d --detect.recon.portscan_vertical.min_ports 20
  backtest --rules my-rules/ --last 30d
  backtest --address 10.0.0.9 --detector 'portscan_*' --last 30d
  backtest beacon --propose --last 30d

The last looks for values with which incidents that were judged false would not have been raised, and those judged true would.`,
	}
	f := cmd.Flags()
	f.StringVar(&t.last, "last", "7d", "length of the range, up to the end of the stored traffic, or all")
	f.StringVar(&t.from, "from", "", "begin of the range, in place of --last")
	f.StringVar(&t.to, "to", "", "end of the range")
	f.StringVar(&t.rules, "rules", "", "file or directory of rules to try")
	f.BoolVar(&t.propose, "propose", false, "look for better values of parameters, by the verdicts on incidents")
	f.IntVar(&t.list, "list", 20, "incidents to list")
	t.excluded.flags(f)
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
		from, to, err := t.span(cmd.Context(), conn)
		if err != nil {
			return err
		}
		if err := t.run(cmd.Context(), cfg, conn, args, from, to, cmd.OutOrStdout()); err != nil {
			return cfg.ClickHouse.Classify(err)
		}
		return nil
	}
	return cmd
}

// span is the range that is asked for.
func (t trial) span(ctx context.Context, conn driver.Conn) (from, to time.Time, err error) {
	stored, err := query.NewPlanner(query.NewAsker(conn, nil)).Stored(ctx)
	if err != nil {
		return from, to, err
	}
	from, to = stored.From, stored.To
	if t.to != "" {
		if to, err = query.ParseTime(t.to); err != nil {
			return from, to, service.Usage(fmt.Errorf("to: %w", err))
		}
	}
	switch {
	case t.from != "":
		if from, err = query.ParseTime(t.from); err != nil {
			return from, to, service.Usage(fmt.Errorf("from: %w", err))
		}
	case t.last != "all":
		d, err := query.ParseLength(t.last)
		if err != nil {
			return from, to, service.Usage(fmt.Errorf("last: %w", err))
		}
		from = to.Add(-d)
	}
	if !from.Before(to) {
		return from, to, errors.New("no traffic is stored in the range")
	}
	return from, to, nil
}

func (t trial) run(ctx context.Context, cfg analyzer.Config, conn driver.Conn, names []string, from, to time.Time, out io.Writer) error {
	b := backtest.New(conn)
	if t.excluded.any() {
		e, err := t.excluded.exclusion()
		if err != nil {
			return service.Usage(err)
		}
		p, err := b.Exclusion(ctx, e, cfg.Detect.Inside, from, to)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "of %d alerts it would hide:\n", p.Candidates)
		return t.print(out, p)
	}
	detectors, err := analyzer.AllDetectors(cfg)
	if err != nil {
		return err
	}
	if t.rules != "" {
		rules, wrong := readRules(t.rules)
		if len(wrong) > 0 {
			return service.Usage(errors.Join(wrong...))
		}
		detectors = nil
		for _, r := range rules {
			detectors = append(detectors, r.Detector())
		}
	}
	if len(names) == 0 && t.rules == "" {
		return service.Usage(errors.New("backtest: name a detector, --rules, or what to exclude"))
	}
	for _, name := range names {
		if !slices.ContainsFunc(detectors, func(d detect.Detector) bool { return d.Info().Name == name }) {
			return service.Usage(fmt.Errorf("backtest: there is no detector %s", name))
		}
	}
	for _, d := range detectors {
		name := d.Info().Name
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		if t.propose {
			list, err := b.Propose(ctx, cfg.Detect, name, from, to)
			if err != nil {
				return err
			}
			proposals(out, name, list)
			continue
		}
		p, err := b.Detector(ctx, d, from, to)
		if err != nil {
			return err
		}
		if err := t.print(out, p); err != nil {
			return err
		}
	}
	return nil
}

func (t trial) print(out io.Writer, p backtest.Price) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\t%s to %s\n", p.Subject, p.From.UTC().Format(time.RFC3339), p.To.UTC().Format(time.RFC3339))
	fmt.Fprintf(w, "  incidents\t%d, %.2f a day of traffic (%.2f days)\n", len(p.Incidents), p.PerDay(), p.Days)
	var by []string
	for _, s := range alert.Severities() {
		if n := p.BySeverity[s]; n > 0 {
			by = append(by, fmt.Sprintf("%s %d", s, n))
		}
	}
	fmt.Fprintf(w, "  by severity\t%s\n", strings.Join(by, ", "))
	fmt.Fprintf(w, "  hosts\t%d actors, %d victims: %s\n", p.Actors, p.Victims, strings.Join(p.Top(5), ", "))
	if p.Windows > 0 {
		fmt.Fprintf(w, "  overlap\t%d are raised already, %d more have an alert of another detector, %d that are raised would not be\n", p.Known, p.Similar, p.Lost)
		fmt.Fprintf(w, "  work\t%d windows, %d looked at, %d candidates, %d without enough history\n", p.Windows, p.Looked, p.Candidates, p.Learning)
	}
	fmt.Fprintf(w, "  time\t%s, slowest window %s\n", p.Took.Round(time.Millisecond), p.Slowest.Round(time.Millisecond))
	if err := w.Flush(); err != nil {
		return err
	}
	for _, a := range p.Incidents[:min(max(t.list, 0), len(p.Incidents))] {
		fmt.Fprintf(out, "  %s  %-8s  %q\n", a.Start.UTC().Format(time.RFC3339), a.Severity, a.Title)
	}
	return nil
}

func proposals(out io.Writer, name string, list []backtest.Proposal) {
	if len(list) == 0 {
		fmt.Fprintf(out, "%s: no single parameter drops what was judged false and keeps what was judged true\n", name)
	}
	for _, p := range list {
		fmt.Fprintf(out, "%s: %s in place of %s: %d of %d false ones go, %d of %d true ones stay, %.2f incidents a day\n",
			p.Parameter, p.New, p.Now, p.FalseGone, p.FalseGone+p.FalseLeft, p.TrueKept, p.TrueKept+p.TrueLost, p.Price.PerDay())
	}
}

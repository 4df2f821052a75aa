package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/retro"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func retroCommand(s service.Service[analyzer.Config]) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retro",
		Short: "Look for indicators in all stored history",
		Long: `Look for indicators in all stored history. What threat lists bring (collector: enrich.threats) is swept by
itself; these commands are for a list of one's own, and to see what was found:

  retro sweep --file iocs.txt      plain (one a line), CSV, STIX 2.1 or MISP; - is standard input
  retro list                       sweeps, newest first
  retro show ID                    hits, and what was looked through`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(sweepCommand(s), sweepsCommand(s), showCommand(s))
	return cmd
}

func sweepCommand(s service.Service[analyzer.Config]) *cobra.Command {
	var file, name string
	cmd := &cobra.Command{Use: "sweep --file LIST", Short: "Look for the indicators of a list, and raise alerts for what is found", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&file, "file", "", "list of indicators, - is standard input")
	cmd.Flags().StringVar(&name, "name", "", "what the list is called in alerts, empty: as the file")
	asJSON := cmd.Flags().Bool("json", false, "print hits as JSON, an object a line")
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if file == "" {
			return service.Usage(errors.New("--file is needed: a list of indicators"))
		}
		cfg, err := s.Load(cmd)
		if err != nil {
			return err
		}
		in := cmd.InOrStdin()
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return service.Usage(err)
			}
			defer f.Close()
			in = f
		}
		list, refused, err := retro.Parse(in)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%d indicators, %d entries not understood\n", len(list), refused)
		if len(list) == 0 {
			return service.Usage(fmt.Errorf("read %s: nothing in it is an indicator", file))
		}
		if name == "" {
			name = filepath.Base(file)
		}
		conn, err := cfg.ClickHouse.Open()
		if err != nil {
			return err
		}
		defer conn.Close()
		who := os.Getenv("USER")
		w, err := retro.New(conn, alert.NewStore(conn), slog.New(slog.DiscardHandler), nil).Sweep(cmd.Context(), name, who, list)
		if err != nil {
			return cfg.ClickHouse.Classify(err)
		}
		return show(cmd, retro.NewStore(conn), w.ID, *asJSON)
	}
	return cmd
}

func sweepsCommand(s service.Service[analyzer.Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List sweeps, newest first", Args: cobra.NoArgs}
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := s.Load(cmd)
		if err != nil {
			return err
		}
		conn, err := cfg.ClickHouse.Open()
		if err != nil {
			return err
		}
		defer conn.Close()
		list, err := retro.NewStore(conn).Sweeps(cmd.Context(), 1000)
		if err != nil {
			return cfg.ClickHouse.Classify(err)
		}
		t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "id\tbegan\tsource\tstate\tindicators\tparts\thits\thosts\ttook")
		for _, w := range list {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d/%d\t%d\t%d\t%v\n", w.ID, w.Began.Format(time.RFC3339), plain(w.Source), w.State, w.Indicators, w.PartsDone, w.Parts, w.Hits, w.Hosts, w.Took)
		}
		return t.Flush()
	}
	return cmd
}

func showCommand(s service.Service[analyzer.Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "show ID", Short: "Show what a sweep found, and what it looked through", Args: cobra.ExactArgs(1)}
	asJSON := cmd.Flags().Bool("json", false, "print hits as JSON, an object a line")
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
		return cfg.ClickHouse.Classify(show(cmd, retro.NewStore(conn), args[0], *asJSON))
	}
	return cmd
}

// show prints the hits of a sweep, and on standard error what it looked through.
func show(cmd *cobra.Command, store *retro.Store, id string, asJSON bool) error {
	w, err := store.Get(cmd.Context(), id)
	if err != nil {
		return err
	}
	c, err := store.Coverage(cmd.Context(), id)
	if err != nil {
		return err
	}
	hits, err := store.Hits(cmd.Context(), id, "", 1_000_000)
	if err != nil {
		return err
	}
	notes := cmd.ErrOrStderr()
	fmt.Fprintf(notes, "sweep %s, %s: %d indicators, %d hits of %d hosts in %v\n%s\n", w.ID, w.State, w.Indicators, len(hits), w.Hosts, w.Took, c.Text())
	days(notes, c)
	if asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		for _, h := range hits {
			if err := e.Encode(h); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "first\tlast\thost\tseen\tin\tindicator\tlist\tflows\tbytes")
	for _, h := range hits {
		host := h.Host
		if host == "" {
			host = "?"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s %s\t%s\t%d\t%d\n", h.First.Format(time.RFC3339), h.Last.Format(time.RFC3339), host, plain(h.Seen), h.Field, h.Kind, plain(h.Value), plain(h.List), h.Flows, h.Bytes)
	}
	return t.Flush()
}

// days lists those that are not complete.
func days(w io.Writer, c retro.Coverage) {
	for _, d := range c.Days {
		if d.Verdict != retro.Complete && !d.Day.IsZero() {
			fmt.Fprintf(w, "%s %s: %d rows of flows of %d, looked through %s\n", d.Day.Format(time.DateOnly), d.Verdict, d.FlowRows, max(d.Promised, d.RollupRows), strings.Join(d.Tables, ", "))
		}
	}
}

// plain keeps a terminal from taking a text for a command.
func plain(s string) string { return strings.ReplaceAll(string(ops.Printable([]byte(s))), "\t", " ") }

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/analyzer/respond"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

// respondWait is how long a request is watched for what the analyzer makes of it.
const respondWait = 20 * time.Second

func respondCommand(s service.Service[analyzer.Config]) *cobra.Command {
	var ask respond.Ask
	var who, why string
	cmd := &cobra.Command{
		Use:   "respond isolate|block|undo|list|audit [TARGET|ID]",
		Short: "Isolate a host, block a prefix, undo it, list what was done, check the audit log",
		Long: `Isolate a host or block a prefix for a time, by the hooks of the configuration:

  respond isolate 10.0.0.23 --why "beacon, incident 4f2a" --for 2h
  respond block 203.0.113.0/24 --why "password guessing"
  respond undo 3KDM…  --why "cleaned"
  respond list
  respond audit                      verifies the chain of the audit log, prints its newest entries

The running analyzer decides: it does what is asked for if respond.enabled is set, and only says what it
would do if not. What is protected is refused. Whatever is asked for and done is in the audit log.`,
		Args: cobra.RangeArgs(1, 2),
	}
	flags := cmd.Flags()
	flags.StringVar(&why, "why", "", "reason, for the audit log")
	flags.StringVar(&who, "who", "", "who asks; default: the user of the system")
	flags.DurationVar(&ask.For, "for", 0, "how long; default: respond.for")
	flags.StringVar(&ask.Hook, "hook", "", "name of the hook; default: the first of the kind")
	flags.StringVar(&ask.Alert, "alert", "", "id of the alert that it is about")
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
		store := respond.NewStore(conn, slog.New(slog.DiscardHandler))
		if who == "" {
			if u, err := user.Current(); err == nil {
				who = u.Username
			}
		}
		ctx, target := cmd.Context(), ""
		if len(args) == 2 {
			target = args[1]
		}
		var a respond.Action
		switch {
		case args[0] == "list" && target == "":
			return listActions(cmd, store)
		case args[0] == "audit" && target == "":
			return showAudit(cmd, store)
		case target == "":
			return service.Usage(fmt.Errorf("respond %s: of what?", args[0]))
		case args[0] == respond.Isolate, args[0] == respond.Block:
			ask.Kind, ask.Target, ask.Why = args[0], target, why
			a, err = store.Request(ctx, who, ask)
		case args[0] == "undo":
			a, err = store.Undo(ctx, who, target, why)
		default:
			return service.Usage(fmt.Errorf("respond %s: none of isolate, block, undo, list, audit", args[0]))
		}
		if err != nil {
			return err
		}
		return watchAction(ctx, cmd, store, a)
	}
	return cmd
}

// watchAction prints what becomes of a request, until it is decided.
func watchAction(ctx context.Context, cmd *cobra.Command, store *respond.Store, a respond.Action) error {
	fmt.Fprintf(cmd.OutOrStdout(), "%s  %s %s: %s\n", a.ID, a.Kind, a.Target, a.State)
	ctx, cancel := context.WithTimeout(ctx, respondWait)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for a.State == respond.Requested || a.State == respond.Applying || a.State == respond.UndoAsked || a.State == respond.Undoing {
		select {
		case <-ctx.Done():
			return errors.New("respond: not decided yet: is the analyzer running? see respond list")
		case <-tick.C:
		}
		next, err := store.Get(ctx, a.ID)
		if err != nil {
			return err
		}
		if next.Step != a.Step {
			fmt.Fprintf(cmd.OutOrStdout(), "%s  %s %s: %s %s\n", next.ID, next.Kind, next.Target, next.State, next.Note)
		}
		a = next
	}
	if a.State == respond.Refused {
		return fmt.Errorf("respond %s %s: refused: %s", a.Kind, a.Target, a.Note)
	}
	return nil
}

func listActions(cmd *cobra.Command, store *respond.Store) error {
	list, err := store.List(cmd.Context(), 100)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tASKED\tKIND\tTARGET\tSTATE\tUNTIL\tBY\tNOTE")
	for _, a := range list {
		until := "-"
		if !a.Expires.IsZero() {
			until = a.Expires.UTC().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%q\t%q\n", a.ID, a.Asked.UTC().Format(time.DateTime), a.Kind, a.Target, a.State, until, a.Who, a.Note)
	}
	return w.Flush()
}

func showAudit(cmd *cobra.Command, store *respond.Store) error {
	n, newest, err := store.Audit().Verify(cmd.Context())
	fmt.Fprintf(cmd.ErrOrStderr(), "%d entries hold, the newest has the hash %s\n", n, newest.Hash)
	if err != nil {
		return err
	}
	const shown = 50
	list, err := store.Audit().List(cmd.Context(), max(n, shown)-shown, shown)
	if err != nil {
		return err
	}
	out := json.NewEncoder(cmd.OutOrStdout())
	for _, e := range list {
		if err := out.Encode(e); err != nil {
			return err
		}
	}
	return nil
}

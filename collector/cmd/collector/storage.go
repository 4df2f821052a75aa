package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/collector/retain"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

type collectorService = service.Service[collector.Config]

// with makes a command that works on the database and prints.
func with(s collectorService, cmd *cobra.Command, do func(cmd *cobra.Command, cfg collector.Config, conn driver.Conn, args []string, out *tabwriter.Writer) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := s.Load(cmd)
		if err != nil {
			return err
		}
		conn, err := collector.Open(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		defer conn.Close()
		out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		if err := do(cmd, cfg, conn, args, out); err != nil {
			return err
		}
		return out.Flush()
	}
	s.Flags(cmd)
	return cmd
}

func storage(s collectorService) *cobra.Command {
	return with(s, &cobra.Command{
		Use:   "storage",
		Short: "Show what the tables take, what they may take, and when that is used up",
		Args:  cobra.NoArgs,
	}, func(cmd *cobra.Command, cfg collector.Config, conn driver.Conn, _ []string, out *tabwriter.Writer) error {
		u, err := retain.Measure(cmd.Context(), conn, cfg.Retention)
		if err != nil {
			return err
		}
		f, known, err := retain.Predict(cmd.Context(), conn, u, cfg.Retention)
		if err != nil {
			return err
		}
		rows, days := map[string]uint64{}, map[string][]string{}
		for _, p := range u.Partitions {
			rows[p.Table] += p.Rows
			days[p.Table] = append(days[p.Table], p.Name)
		}
		fmt.Fprintln(out, "table\tsize\trows\tpartitions")
		names := slices.SortedFunc(maps.Keys(u.Tables), func(a, b string) int { return int(min(max(u.Tables[b]-u.Tables[a], -1), 1)) })
		for _, name := range names {
			span := ""
			if list := days[name]; len(list) > 1 {
				span = slices.Min(list) + " to " + slices.Max(list)
			}
			fmt.Fprintf(out, "%s\t%s\t%d\t%s\n", name, size(u.Tables[name]), rows[name], span)
		}
		fmt.Fprintf(out, "all\t%s of %s\t\t%s free on the disk\n", size(u.Used), size(u.Budget), size(u.Free))
		switch {
		case !known:
			fmt.Fprintln(out, "\nToo little is known yet for a forecast: it takes some hours.")
		case f.Full.IsZero():
			fmt.Fprintf(out, "\n%s a day come in; as much will go as comes at %s: there is room for it.\n", size(int64(f.Growth)), size(int64(f.Steady)))
		default:
			fmt.Fprintf(out, "\n%s a day come in; all that retention allows would be %s: the budget is used up on %s, and flows are kept shorter from then on.\n",
				size(int64(f.Growth)), size(int64(f.Steady)), f.Full.UTC().Format(time.DateOnly))
		}
		return nil
	})
}

// size in units that people read.
func size(n int64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

func hold(s collectorService) *cobra.Command {
	cmd := &cobra.Command{Use: "hold", Short: "Keep days of traffic from retention and erasure, for as long as a case needs them"}
	var from, to string
	var h retain.Hold
	add := with(s, &cobra.Command{
		Use: "add --from DAY --to DAY --reason TEXT --owner WHO", Short: "Put days (UTC, of flow starts) on hold", Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, _ collector.Config, conn driver.Conn, _ []string, out *tabwriter.Writer) (err error) {
		if h.First, err = time.Parse(time.DateOnly, from); err == nil {
			h.Last, err = time.Parse(time.DateOnly, to)
		}
		if err != nil {
			return service.Usage(fmt.Errorf("--from and --to are days, such as 2026-03-02: %w", err))
		}
		placed, err := retain.Place(cmd.Context(), conn, h)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "hold %s is in force within a minute\n", placed.ID)
		return nil
	})
	f := add.Flags()
	f.StringVar(&from, "from", "", "first day")
	f.StringVar(&to, "to", "", "last day")
	f.StringVar(&h.Reason, "reason", "", "why")
	f.StringVar(&h.Owner, "owner", "", "who asks for it")
	cmd.AddCommand(add, with(s, &cobra.Command{
		Use: "list", Short: "List holds, released ones too", Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, _ collector.Config, conn driver.Conn, _ []string, out *tabwriter.Writer) error {
		all, err := retain.Holds(cmd.Context(), conn, false)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "id\tfirst\tlast\towner\treason\tcreated\treleased")
		for _, h := range all {
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.ID, h.First.Format(time.DateOnly), h.Last.Format(time.DateOnly), clean(h.Owner), clean(h.Reason), stamp(h.Created), stamp(h.Released))
		}
		return nil
	}), with(s, &cobra.Command{
		Use: "release ID", Short: "End a hold", Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, _ collector.Config, conn driver.Conn, args []string, _ *tabwriter.Writer) error {
		return retain.Release(cmd.Context(), conn, args[0])
	}))
	return cmd
}

func erase(s collectorService) *cobra.Command {
	var address, user, name, owner, reason string
	var list, sure bool
	cmd := with(s, &cobra.Command{
		Use:   "erase --address A | --user U | --name N, --owner WHO --reason TEXT --sure",
		Short: "Erase all that is stored of one host or person, and keep a record of it that does not name them",
		Long: `Erase all that is stored of one host or person: flow records and all that was
made of them. The record names who asked and why, and the subject as a salted
hash: --list with the subject shows its erasures. Days on legal hold make it
fail. Kafka, probes' spools and kept packets have their own, short retention;
backups keep what they have.`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, _ collector.Config, conn driver.Conn, _ []string, out *tabwriter.Writer) error {
		var given []retain.Subject
		for _, s := range []retain.Subject{{Kind: retain.Address, Value: address}, {Kind: retain.User, Value: user}, {Kind: retain.Name, Value: name}} {
			if s.Value != "" {
				given = append(given, s)
			}
		}
		if list {
			return listErasures(cmd, conn, given, out)
		}
		if len(given) != 1 {
			return service.Usage(errors.New("one of --address, --user and --name is needed"))
		}
		if !sure {
			return service.Usage(kit.Hint(errors.New("nothing is erased without --sure"), "what is erased cannot be brought back"))
		}
		e, err := retain.Erase(cmd.Context(), conn, given[0], owner, reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "erasure %s is done\n", e.ID)
		printRows(out, e)
		return nil
	})
	f := cmd.Flags()
	f.StringVar(&address, "address", "", "address of a host, on either side of flows")
	f.StringVar(&user, "user", "", "user, as protocols told it")
	f.StringVar(&name, "name", "", "name of a host, as TLS, DNS and HTTP told it")
	f.StringVar(&owner, "owner", "", "who asks for it")
	f.StringVar(&reason, "reason", "", "why")
	f.BoolVar(&sure, "sure", false, "do it")
	f.BoolVar(&list, "list", false, "list erasures, of the subject if one is given")
	return cmd
}

func listErasures(cmd *cobra.Command, conn driver.Conn, of []retain.Subject, out *tabwriter.Writer) error {
	all, err := retain.Erasures(cmd.Context(), conn)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "id\tkind\towner\treason\tbegun\tfinished")
	for _, e := range all {
		if len(of) > 0 && !slices.ContainsFunc(of, e.Concerns) {
			continue
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Kind, clean(e.Owner), clean(e.Reason), stamp(e.Begun), stamp(e.Finished))
		printRows(out, e)
	}
	return nil
}

func printRows(out io.Writer, e retain.Erasure) {
	for _, name := range slices.Sorted(maps.Keys(e.Rows)) {
		fmt.Fprintf(out, "  %s\t%d rows\n", name, e.Rows[name])
	}
}

// clean keeps what people wrote from moving the terminal.
func clean(s string) string { return string(ops.Printable([]byte(s))) }

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func backup(s collectorService) *cobra.Command {
	var base string
	cmd := with(s, &cobra.Command{
		Use:   "backup PLACE [--base PLACE]",
		Short: "Back the database up to file:NAME, disk:NAME/PATH or s3:https://…, as ClickHouse sees them",
		Args:  cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, _ collector.Config, conn driver.Conn, args []string, out *tabwriter.Writer) error {
		if err := retain.Backup(cmd.Context(), conn, args[0], base); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out, "backed up")
		return err
	})
	cmd.Flags().StringVar(&base, "base", "", "an earlier backup: write the differences only")
	return cmd
}

func restore(s collectorService) *cobra.Command {
	var database string
	cmd := &cobra.Command{
		Use:   "restore PLACE",
		Short: "Bring the database back from a backup, and fill in from Kafka what it lacks",
		Long: `Bring the database back from a backup into an empty one. No collector may run.
The consumer group is deleted, so that collectors read again from Kafka's first
message: what the backup has is passed over, what it lacks is stored.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			if err := collector.Restore(cmd.Context(), cfg, args[0], database); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "restored; start the collectors")
			return err
		},
	}
	s.Flags(cmd)
	cmd.Flags().StringVar(&database, "of", "tapwatch", "name that the database had when it was backed up")
	return cmd
}

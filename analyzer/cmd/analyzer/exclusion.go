package main

import (
	"errors"
	"fmt"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/analyzer/exclusion"
	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

// criteria are an exclusion as flags have it.
type criteria struct {
	detectors, networks, names, ja4 []string
	ports                           []uint
	side, direction, owner, comment string
	expires                         string
}

func (c *criteria) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&c.networks, "address", nil, "addresses and networks")
	f.StringVar(&c.side, "side", "", "whose address is meant: actor, victim or both; any if not given")
	f.StringSliceVar(&c.names, "name", nil, "server, host and domain names, such as *.example.org")
	f.UintSliceVar(&c.ports, "port", nil, "ports of services")
	f.StringSliceVar(&c.ja4, "ja4", nil, "JA4 fingerprints")
	f.StringVar(&c.direction, "direction", "", "outbound, inbound or internal")
	f.StringSliceVar(&c.detectors, "detector", nil, "detectors, such as portscan_*; all if not given")
}

// any says whether one is given.
func (c *criteria) any() bool {
	return len(c.networks)+len(c.names)+len(c.ports)+len(c.ja4)+len(c.direction) > 0
}

func (c *criteria) exclusion() (exclusion.Exclusion, error) {
	e := exclusion.Exclusion{Detectors: c.detectors, Side: c.side, JA4: c.ja4, Direction: c.direction, Owner: c.owner, Comment: c.comment}
	for _, text := range c.networks {
		n, err := exclusion.ParseNetwork(text)
		if err != nil {
			return e, fmt.Errorf("address: %w", err)
		}
		e.Networks = append(e.Networks, n)
	}
	for _, n := range c.names {
		e.Names = append(e.Names, strings.ToLower(n))
	}
	for _, p := range c.ports {
		if p > 65535 {
			return e, fmt.Errorf("port %d: larger than 65535", p)
		}
		e.Ports = append(e.Ports, uint16(p))
	}
	if c.expires != "" {
		d, err := query.ParseLength(c.expires)
		if err != nil {
			at, err2 := query.ParseTime(c.expires)
			if err2 != nil {
				return e, fmt.Errorf("expires: %w", errors.Join(err, err2))
			}
			e.Expires = at
			return e, nil
		}
		e.Expires = time.Now().Add(d)
	}
	return e, nil
}

// whoAmI is the name of the operating system's user, for the record.
func whoAmI() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "command line"
}

func exclusionCommand(s service.Service[analyzer.Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "exclusion", Short: "List, add and remove what nobody is told of"}
	store := func(c *cobra.Command, work func(*exclusion.Store) error) error {
		cfg, err := s.Load(c)
		if err != nil {
			return err
		}
		conn, err := cfg.ClickHouse.Open()
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := work(exclusion.NewStore(conn)); err != nil {
			return cfg.ClickHouse.Classify(err)
		}
		return nil
	}
	print := func(c *cobra.Command, list []exclusion.Exclusion) error {
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tREV\tWHEN\tWHO\tACTION\tWHAT\tOWNER\tEXPIRES\tCOMMENT")
		for _, e := range list {
			expires := "never"
			if !e.Expires.IsZero() {
				expires = e.Expires.Format(time.RFC3339)
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%q\n", e.ID, e.Revision, e.At.Format(time.RFC3339), e.Who, e.Action, e.Text(), e.Owner, expires, e.Comment)
		}
		return w.Flush()
	}

	list := &cobra.Command{Use: "list [ID]", Short: "List exclusions, or all that was done to one", Args: cobra.MaximumNArgs(1)}
	list.RunE = func(c *cobra.Command, args []string) error {
		return store(c, func(st *exclusion.Store) error {
			all, err := st.List(c.Context())
			if len(args) > 0 {
				all, err = st.History(c.Context(), args[0])
			}
			if err != nil {
				return err
			}
			return print(c, all)
		})
	}

	var given criteria
	add := &cobra.Command{Use: "add", Short: "Add an exclusion; try it first with backtest", Args: cobra.NoArgs}
	given.flags(add.Flags())
	add.Flags().StringVar(&given.owner, "owner", "", "who answers for it")
	add.Flags().StringVar(&given.comment, "comment", "", "why it is there")
	add.Flags().StringVar(&given.expires, "expires", "", "after a length of time, such as 30d, or at a time; never if not given")
	add.RunE = func(c *cobra.Command, _ []string) error {
		e, err := given.exclusion()
		if err = errors.Join(err, e.Check()); err != nil {
			return service.Usage(err)
		}
		return store(c, func(st *exclusion.Store) error {
			e, err := st.Put(c.Context(), whoAmI(), e)
			if err != nil {
				return err
			}
			return print(c, []exclusion.Exclusion{e})
		})
	}

	var why string
	remove := &cobra.Command{Use: "remove ID", Short: "Remove an exclusion: what it hid comes back", Args: cobra.ExactArgs(1)}
	remove.Flags().StringVar(&why, "comment", "", "why it goes")
	remove.RunE = func(c *cobra.Command, args []string) error {
		return store(c, func(st *exclusion.Store) error {
			e, err := st.Remove(c.Context(), whoAmI(), args[0], why)
			if errors.Is(err, exclusion.ErrUnknown) {
				return service.Usage(err)
			}
			if err != nil {
				return err
			}
			return print(c, []exclusion.Exclusion{e})
		})
	}
	for _, c := range []*cobra.Command{list, add, remove} {
		s.Flags(c)
		cmd.AddCommand(c)
	}
	return cmd
}

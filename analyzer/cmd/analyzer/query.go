package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func queryCommand(s service.Service[analyzer.Config]) *cobra.Command {
	var q analyzer.Question
	cmd := &cobra.Command{
		Use:   "query [FILTER]",
		Short: "List or add up stored flows",
		Long: `List or add up stored flows that a filter fits, such as

  query "src_ip in 10.0.0.0/8 and dst_port = 443 and tls_sni like '%.ru' and not app = 'dns'" --last 7d
  query "last 30d and host 10.0.0.5" --by dst_ip,app

analyzer/query/README.md has the language. Without --last and without a time in the filter the
latest 24 hours of the stored traffic are asked. Where the answer comes from is told on standard error.`,
		Args: cobra.MaximumNArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Last, "last", "", "length of the range, up to the end of the stored traffic: 15m, 24h, 7d, or all")
	flags.StringSliceVar(&q.Columns, "columns", nil, "columns to show, separated by commas")
	flags.StringSliceVar(&q.By, "by", nil, "columns to add up by, in place of listing flows")
	flags.IntVar(&q.Limit, "limit", 100, "rows to show, 1 to 100000")
	flags.StringVar(&q.Format, "format", "table", "table, json (an object a line) or csv")
	flags.StringVar(&q.Sample, "sample", "", "read a part where the question is too large, and scale the sums: auto, hours, days or hash, with /N for one in N")
	flags.BoolVar(&q.Explain, "explain", false, "print the statement and do not run it")
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := s.Load(cmd)
		if err != nil {
			return err
		}
		q.Filter = strings.Join(args, " ")
		switch {
		case q.Limit < 1 || q.Limit > 100000:
			return service.Usage(fmt.Errorf("limit %d: not from 1 to 100000", q.Limit))
		case !slices.Contains([]string{"table", "json", "csv"}, q.Format):
			return service.Usage(fmt.Errorf("format %q: none of table, json and csv", q.Format))
		}
		err = analyzer.Ask(cmd.Context(), cfg, q, cmd.OutOrStdout(), cmd.ErrOrStderr())
		var wrong *query.Error
		if errors.As(err, &wrong) {
			return service.Usage(fmt.Errorf("filter: %w", err))
		}
		if errors.Is(err, analyzer.ErrQuestion) {
			return service.Usage(err)
		}
		return err
	}
	return cmd
}

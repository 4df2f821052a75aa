package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/probe/keep"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func tokenCommand() *cobra.Command {
	var rights []string
	var until, within, file string
	cmd := &cobra.Command{
		Use:   "token NAME [--rights packets,stats] [--until TIME] [--within EXPRESSION] [--add FILE]",
		Short: "Make a token for fetching packets, and the line that lets it in",
		Long: `Make a token for fetching packets. It is printed on the first line and nowhere
else; the second line belongs into the probe's token file, which holds only
the token's hash. --add adds it there.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var end time.Time
			if until != "" {
				var err error
				if end, err = keep.ParseTime(until); err != nil {
					return service.Usage(fmt.Errorf("--until: %w", err))
				}
			}
			token, line, err := keep.NewToken(args[0], rights, end, within)
			if err != nil {
				return service.Usage(err)
			}
			if file != "" {
				if err := keep.AddToken(file, line); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", token, line)
			return err
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&rights, "rights", []string{keep.RightPackets}, "what the token may do: packets, stats")
	f.StringVar(&until, "until", "", "not valid from then on")
	f.StringVar(&within, "within", "", "BPF expression: only packets that match may be fetched")
	f.StringVar(&file, "add", "", "token file to add the line to")
	return cmd
}

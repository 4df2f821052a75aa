package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func packetsCommand() *cobra.Command {
	var path, filter string
	var count int
	cmd := &cobra.Command{
		Use:   "packets -r FILE [-c COUNT] [-f FILTER]",
		Short: "List the packets of a capture, one a line",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return service.Usage(errors.New("a capture is needed: -r FILE"))
			}
			return probe.Packets(cmd.Context(), path, filter, count, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&path, "read", "r", "", "capture file, - for standard input")
	cmd.Flags().StringVarP(&filter, "filter", "f", "", "BPF expression, as of tcpdump")
	cmd.Flags().IntVarP(&count, "count", "c", 0, "end after so many packets; 0: all")
	return cmd
}

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer/importer"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func importCommand() *cobra.Command {
	s := service.Service[importer.Config]{Name: "import", Default: importer.DefaultConfig, Check: importer.Config.Check}
	var follow bool
	cmd := &cobra.Command{
		Use:   "import FORMAT FILE|DIR...",
		Short: "Bring flows of logs, archives and routers into Kafka, as if a probe had seen them",
		Long: `Bring flows of logs, archives and routers into Kafka, as if a probe had seen them:

  import zeek /nsm/zeek/logs/2026-11-20           conn.log, and what the other logs say of its connections
  import zeek --follow current/*.log              the same while Zeek writes them; ends with Ctrl-C
  import eve eve.json                             Suricata
  import netflow exports.pcap                     NetFlow v5, v9, IPFIX and sFlow, in captures or as messages
  import nfdump /var/cache/nfdump/2026/11         files of nfcapd, sfcapd, nfpcapd and nfdump -w
  import argus day.binetflow                      Argus flows as CSV
  import live --listen :2055,:6343                what routers send, over UDP

Formats: ` + strings.Join(importer.Formats(), ", ") + `, live. Packed files (gzip, bzip2, zstd) are unpacked. A file that
is imported again is stored once. What was left out is told by reason, with the place of the first, and stands
in the ledger. analyzer/importer/README.md says which field becomes which.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 && (len(args) == 0 || args[0] != "live") {
				return service.Usage(errors.New("a format and files are needed: import zeek conn.log dns.log"))
			}
			return nil
		},
	}
	s.Flags(cmd)
	cmd.Flags().BoolVar(&follow, "follow", false, "zeek: go on as the logs grow and are rotated, and after a restart where it ended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := s.Load(cmd)
		if err != nil {
			return err
		}
		var tally interface{ String() string }
		switch {
		case args[0] == "live":
			return importer.Live(cmd.Context(), cfg)
		case follow && args[0] != "zeek":
			return service.Usage(fmt.Errorf("import %s --follow: only Zeek's logs can be followed", args[0]))
		case follow:
			t, ferr := importer.Follow(cmd.Context(), cfg, args[1:])
			tally, err = &t, ferr
		default:
			t, rerr := importer.Run(cmd.Context(), cfg, args[0], args[1:])
			tally, err = &t, rerr
		}
		fmt.Fprintln(cmd.ErrOrStderr(), tally.String())
		return err
	}
	return cmd
}

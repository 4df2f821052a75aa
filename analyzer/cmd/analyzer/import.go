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
	cmd := &cobra.Command{
		Use:   "import FORMAT FILE|DIR...",
		Short: "Bring flows from logs and archives into Kafka, as if a probe had seen them",
		Long: `Bring flows from logs and archives into Kafka, as if a probe had seen them:

  import zeek /nsm/zeek/logs/2026-11-20           conn.log, and what the other logs say of its connections

Formats: ` + strings.Join(importer.Formats(), ", ") + `. Packed files (gzip, bzip2, zstd) are unpacked. A file that is imported
again is stored once. What was left out is told by reason, with the place of the first, and stands in the
ledger. analyzer/importer/README.md says which field becomes which.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return service.Usage(errors.New("a format and files are needed: import zeek conn.log dns.log"))
			}
			return nil
		},
	}
	s.Flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := s.Load(cmd)
		if err != nil {
			return err
		}
		tally, err := importer.Run(cmd.Context(), cfg, args[0], args[1:])
		fmt.Fprintln(cmd.ErrOrStderr(), tally.String())
		return err
	}
	return cmd
}

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit/service"
	"github.com/tapwatch/tapwatch/proto/sign"
)

func identityCommand() *cobra.Command {
	cfg := probe.DefaultConfig()
	cmd := &cobra.Command{
		Use:   "identity --sign-key FILE [--name NAME]",
		Short: "Print the line that lets collectors know this probe's batches",
		Long: `Print the line that lets collectors know this probe's batches: its name and the
public key of sign_key. It belongs into the file that the collectors'
probes.keys names; a batch that names this probe and is not signed with this
key goes to the dead-letter topic then.

Make a key with: (umask 077; head -c 32 /dev/urandom > FILE)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.SignKey == "" {
				return service.Usage(errors.New("a key is needed: --sign-key FILE"))
			}
			signer, err := sign.Open(cfg.SignKey)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", cfg.Name, signer.Public())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.SignKey, "sign-key", "", "file with the key, as the probe's sign_key")
	f.StringVar(&cfg.Name, "name", cfg.Name, "name of the probe, as its configuration has it")
	return cmd
}

package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/probe/privacy"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func revealCommand() *cobra.Command {
	cfg := privacy.Config{Addresses: privacy.AddressesAll, MACs: privacy.Hash}
	var networks []string
	cmd := &cobra.Command{
		Use:   "reveal --key FILE ADDRESS...",
		Short: "Tell the addresses behind pseudonyms, for whoever holds the key",
		Long: `Tell the addresses behind pseudonyms, for whoever holds the key. Give the same
addresses and networks as the probe's privacy has. Hashed names and users cannot
be revealed.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cfg.KeyFile == "" {
				return service.Usage(errors.New("a key is needed: --key FILE"))
			}
			for _, text := range networks {
				p, err := netip.ParsePrefix(text)
				if err != nil {
					return service.Usage(err)
				}
				cfg.Networks = append(cfg.Networks, p)
			}
			f, err := privacy.New(cfg)
			if err != nil {
				return service.Usage(err)
			}
			for _, arg := range args {
				text, err := f.RevealText(arg)
				if err != nil {
					return service.Usage(err)
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\n", arg, text); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.KeyFile, "key", "", "file with the key of the probe's privacy")
	f.StringVar(&cfg.Addresses, "addresses", cfg.Addresses, "as in the probe's privacy: all, within or outside")
	f.StringArrayVar(&networks, "network", nil, "as in the probe's privacy; may be repeated")
	return cmd
}

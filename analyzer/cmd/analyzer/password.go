package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer/console"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func hashPasswordCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash-password",
		Short: "Read a password from standard input and print the hash for console.password_hash",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
			if line = strings.TrimRight(line, "\r\n"); line == "" {
				return service.Usage(errors.Join(errors.New("a password is expected on standard input"), err))
			}
			hash, err := console.HashPassword(line)
			if err != nil {
				return service.Usage(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
			return err
		},
	}
}

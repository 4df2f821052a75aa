package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/analyzer/rule"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func ruleCommand() *cobra.Command {
	var show bool
	check := &cobra.Command{
		Use:   "check FILE|DIR...",
		Short: "Say what is wrong with rules, with file and line, and what the others do",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			failed := 0
			for _, at := range args {
				rules, wrong := readRules(at)
				for _, err := range wrong {
					failed++
					fmt.Fprintln(cmd.ErrOrStderr(), err)
				}
				for _, r := range rules {
					i := r.Detector().Info()
					fmt.Fprintf(cmd.OutOrStdout(), "%s:%d: %s, version %d\n", r.File, r.Line, i.Name, i.Version)
					if show {
						fmt.Fprintf(cmd.OutOrStdout(), "%s\n\n", i.Text())
					}
				}
			}
			if failed > 0 {
				return service.Usage(fmt.Errorf("%d rules are wrong", failed))
			}
			return nil
		},
	}
	check.Flags().BoolVar(&show, "show", false, "tell what each rule does")
	cmd := &cobra.Command{Use: "rule", Short: "Look at detectors of one's own, in YAML or Sigma"}
	cmd.AddCommand(check)
	return cmd
}

// readRules reads a file, or all of a directory.
func readRules(at string) ([]*rule.Rule, []error) {
	info, err := os.Stat(at)
	if err != nil {
		return nil, []error{err}
	}
	if info.IsDir() {
		return rule.Load(os.DirFS(at), query.New())
	}
	text, err := fs.ReadFile(os.DirFS(filepath.Dir(at)), filepath.Base(at))
	if err != nil {
		return nil, []error{err}
	}
	if len(text) > 1<<20 {
		return nil, []error{errors.New(at + ": larger than 1 MiB")}
	}
	return rule.Parse(at, text, query.New())
}

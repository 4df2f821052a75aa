// Package service turns a Config and a Run into a program: the command line, the configuration from file, environment
// and flags, signals, and the exit code. It holds no state; a main is Main(Service{...}.Command()).
//
// In come arguments and environment, out go a filled Config for Run, and one line on standard error when something is
// wrong.
package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// Service describes a program whose configuration is a C (see package config for what C may hold).
type Service[C any] struct {
	// Name is "probe": the command is then tapwatch-probe and the variables begin with TAPWATCH_PROBE_. The name
	// "tapwatch" stands for itself: tapwatch, TAPWATCH_.
	Name string
	// Short says on one line what the program does.
	Short string
	// Default returns the configuration before anything is read. Required.
	Default func() C
	// File is told the path of the configuration file, if there is one, before Check; nil: nobody asks.
	File func(cfg *C, path string)
	// Check says what is wrong with a filled configuration, without touching the outside world; nil: all is accepted.
	Check func(C) error
	// Run does the work until ctx ends, and returns nil or ctx's error then; nil: the command alone shows its help.
	Run func(context.Context, C) error
	// RunReloading is for a service that can change its configuration while it works, in place of Run: at each SIGHUP
	// the configuration is read again and, if Check accepts it, sent. The channel is never closed.
	RunReloading func(context.Context, C, <-chan C) error
	// Commands are further subcommands. Those that need the configuration call Flags and Load.
	Commands []*cobra.Command
}

// ExitCode is implemented by errors that choose the exit code of the process: 1, it cannot do its work; 2, it was
// called or configured wrongly. Other errors end it with 1.
type ExitCode interface{ ExitCode() int }

// usageError is a wrong call.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }
func (e usageError) ExitCode() int { return 2 }

// Usage marks err as a wrong call or configuration: exit code 2. A nil err stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// commandName is the name of the program.
func (s Service[C]) commandName() string {
	if s.Name == "tapwatch" {
		return s.Name
	}
	return "tapwatch-" + s.Name
}

// envPrefix is what the names of the program's variables begin with.
func (s Service[C]) envPrefix() string {
	return strings.ToUpper(strings.ReplaceAll(s.commandName(), "-", "_")) + "_"
}

// Command returns the root command, which runs the service, with the subcommands check-config, print-config, version
// and s.Commands; and ready, where C has a field of type ops.Config.
func (s Service[C]) Command() *cobra.Command {
	root := &cobra.Command{
		Use:           s.commandName(),
		Short:         s.Short,
		Version:       Version(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	if s.Run != nil || s.RunReloading != nil {
		s.Flags(root)
		root.RunE = func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			return s.run(cmd, cfg)
		}
	}
	check := &cobra.Command{
		Use:   "check-config",
		Short: "Say whether the configuration is good: exit code 0 or 2",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := s.Load(cmd); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), s.commandName()+": the configuration is good")
			return err
		},
	}
	show := &cobra.Command{
		Use:   "print-config",
		Short: "Print the configuration in effect as YAML, with secrets as ***",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.Load(cmd)
			if err != nil {
				return err
			}
			return config.Print(cmd.OutOrStdout(), &cfg)
		},
	}
	s.Flags(check)
	s.Flags(show)
	root.AddCommand(check, show, &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), s.commandName(), Version())
			return err
		},
	})
	if _, ok := opsOf(s.Default()); ok {
		root.AddCommand(s.readyCommand())
	}
	root.AddCommand(s.Commands...)
	return root
}

// Flags adds --config and one flag per key of the configuration to cmd. A flag that cmd has already keeps its meaning.
func (s Service[C]) Flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	if fs.Lookup("config") == nil {
		short := "c"
		if fs.ShorthandLookup(short) != nil {
			short = ""
		}
		fs.StringP("config", short, "", "YAML file with the configuration; also "+s.envPrefix()+"CONFIG")
	}
	cfg := s.Default()
	config.Flags(fs, &cfg)
	fs.SortFlags = false
}

// Load returns the configuration for cmd, to which Flags was applied: the defaults, the file, the environment and the
// flags, checked. Its errors have exit code 2.
func (s Service[C]) Load(cmd *cobra.Command) (C, error) {
	cfg := s.Default()
	src := config.Source{EnvPrefix: s.envPrefix(), Environ: os.Environ(), Flags: cmd.Flags()}
	src.File = os.Getenv(s.envPrefix() + "CONFIG")
	if f := cmd.Flags().Lookup("config"); f != nil && f.Changed {
		src.File = f.Value.String()
	}
	if err := config.Load(&cfg, src); err != nil {
		return cfg, Usage(err)
	}
	if s.File != nil && src.File != "" {
		s.File(&cfg, src.File)
	}
	if s.Check != nil {
		if err := s.Check(cfg); err != nil {
			return cfg, Usage(err)
		}
	}
	return cfg, nil
}

// flagError adds the nearest flag to the error about an unknown one.
func flagError(cmd *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	if errors.As(err, &missing) {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		hint := cmd.CommandPath() + " --help shows all flags"
		if near := config.Nearest(missing.GetSpecifiedName(), known); near != "" {
			hint = "did you mean --" + near + "?"
		}
		err = kit.Hint(err, hint)
	}
	return Usage(err)
}

// Version is the version of the main module, or the commit it was built from, as the Go toolchain recorded it;
// "development" when it recorded neither.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "development"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "development"
}

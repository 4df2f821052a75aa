package service

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// run does the work of the service with cfg. With RunReloading every SIGHUP
// reads the configuration again, from the same file, environment and flags. One
// that cannot be used is one line on standard error, and the old one stays.
func (s Service[C]) run(cmd *cobra.Command, cfg C) error {
	if s.RunReloading == nil {
		return s.Run(cmd.Context(), cfg)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	reloads, done := make(chan C, 1), make(chan struct{})
	go func() {
		defer close(done)
		s.reload(ctx, cmd, signals, reloads)
	}()
	err := s.RunReloading(cmd.Context(), cfg, reloads)
	stop()
	<-done
	return err
}

// reload loads the configuration at each signal until ctx ends. A newer one
// takes the place of one that nobody has taken yet.
func (s Service[C]) reload(ctx context.Context, cmd *cobra.Command, signals <-chan os.Signal, reloads chan C) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		cfg, err := s.Load(cmd)
		if err != nil {
			line := s.commandName() + ": error: reload: " + flat(err.Error())
			if hint := kit.HintOf(err); hint != "" {
				line += " (" + flat(hint) + ")"
			}
			fmt.Fprintln(cmd.ErrOrStderr(), line+"; going on as before")
			continue
		}
		select {
		case <-reloads:
		default:
		}
		reloads <- cfg
	}
}

package service

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Main runs cmd with the arguments of the process and returns the exit code for os.Exit: 0, it did its work, or was
// asked to stop and did; 1, it could not; 2, it was called or configured wrongly. SIGINT and SIGTERM cancel the
// command's context; a second one ends the process at once, without draining. Any error is printed as one line:
//
//	tapwatch-probe: error: open capture eth9: no such device (ip link shows the interfaces)
func Main(cmd *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// Once the first signal has arrived, the next has its default effect again.
	defer context.AfterFunc(ctx, stop)()
	return run(ctx, cmd)
}

// run is Main without the signals.
func run(ctx context.Context, cmd *cobra.Command) int {
	started := false
	watch(cmd, &started)
	err := cmd.ExecuteContext(ctx)
	if err == nil || (ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return 0
	}
	if !started {
		err = Usage(suggest(cmd, err))
	}
	line := cmd.Name() + ": error: " + flat(err.Error())
	if hint := kit.HintOf(err); hint != "" {
		line += " (" + flat(hint) + ")"
	}
	fmt.Fprintln(cmd.ErrOrStderr(), line)
	var code ExitCode
	if errors.As(err, &code) {
		return code.ExitCode()
	}
	return 1
}

// watch notes when the work of a command begins: cobra's complaints about the call come before, as plain errors.
func watch(cmd *cobra.Command, started *bool) {
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			*started = true
			return work(c, args)
		}
	}
	for _, c := range cmd.Commands() {
		watch(c, started)
	}
}

// suggest adds the nearest subcommand to the complaint about an unknown one.
func suggest(cmd *cobra.Command, err error) error {
	_, rest, found := strings.Cut(err.Error(), `unknown command "`)
	word, _, _ := strings.Cut(rest, `"`)
	if !found {
		return err
	}
	var known []string
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	first, _, _ := strings.Cut(err.Error(), "\n") // cobra adds suggestions of its own beneath
	if near := config.Nearest(word, known); near != "" {
		return kit.Hint(errors.New(first), "did you mean "+near+"?")
	}
	return kit.Hint(errors.New(first), cmd.Name()+" --help shows all commands")
}

// flat makes one printable line of a text.
func flat(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return string(ops.Printable([]byte(strings.Join(lines, "; "))))
}

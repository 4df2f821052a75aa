package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

type testConfig struct {
	Site     string        `conf:"site" help:"name of this site"`
	Workers  int           `conf:"workers"`
	Password config.Secret `conf:"password"`
}

// testService runs work with the configuration.
func testService(work func(context.Context, testConfig) error) Service[testConfig] {
	s := Service[testConfig]{
		Name: "check", Short: "A service for tests",
		Default: func() testConfig { return testConfig{Site: "default", Workers: 1} },
		Check: func(c testConfig) error {
			if c.Workers < 1 {
				return kit.Hint(fmt.Errorf("workers %d: less than 1", c.Workers), "one per core is good")
			}
			return nil
		},
		Run: work,
	}
	extra := &cobra.Command{Use: "extra", Args: cobra.ExactArgs(1)}
	s.Flags(extra)
	extra.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := s.Load(cmd)
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), "extra", args[0], cfg.Site)
		}
		return err
	}
	s.Commands = []*cobra.Command{extra}
	return s
}

type exit3 struct{ error }

func (exit3) ExitCode() int { return 3 }

func TestExitCodesAndMessages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("site: file\npassword: CANARY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	work := func(_ context.Context, c testConfig) error {
		switch c.Site {
		case "fail":
			return kit.Hint(errors.New("open eth9: no such device\n\x1b[2Jforged"), "ip link shows them")
		case "three":
			return fmt.Errorf("run: %w", exit3{errors.New("x")})
		}
		return nil
	}
	tests := []struct {
		name   string
		args   []string
		env    map[string]string
		code   int
		stdout string // a part
		stderr string // all of it
	}{
		{name: "works"},
		{name: "fails", args: []string{"--site=fail"}, code: 1,
			stderr: `tapwatch-check: error: open eth9: no such device; \u001b[2Jforged (ip link shows them)` + "\n"},
		{name: "own exit code", args: []string{"--site=three"}, code: 3, stderr: "tapwatch-check: error: run: x\n"},
		{name: "unknown flag", args: []string{"--sitte=x"}, code: 2, stderr: "tapwatch-check: error: unknown flag: --sitte (did you mean --site?)\n"},
		{name: "unknown command", args: []string{"chek-config"}, code: 2,
			stderr: `tapwatch-check: error: unknown command "chek-config" for "tapwatch-check" (did you mean check-config?)` + "\n"},
		{name: "missing argument", args: []string{"extra"}, code: 2, stderr: "tapwatch-check: error: accepts 1 arg(s), received 0\n"},
		{name: "wrong flag value", args: []string{"--workers=x"}, code: 2, stderr: `tapwatch-check: error: invalid argument "x" for "--workers" flag: "x" is not a whole number` + "\n"},
		{name: "wrong variable", env: map[string]string{"TAPWATCH_CHECK_WORKER": "1"}, code: 2,
			stderr: "tapwatch-check: error: config environment TAPWATCH_CHECK_WORKER: unknown variable (did you mean TAPWATCH_CHECK_WORKERS?)\n"},
		{name: "refused by Check", args: []string{"check-config", "--workers=0"}, code: 2, stderr: "tapwatch-check: error: workers 0: less than 1 (one per core is good)\n"},
		{name: "check-config", args: []string{"check-config", "-c", file}, stdout: "tapwatch-check: the configuration is good\n"},
		{name: "print-config", args: []string{"print-config", "--config", file, "--workers=4"}, stdout: "# name of this site\nsite: file\nworkers: 4\npassword: '***'\n"},
		{name: "file from the environment", args: []string{"print-config"}, env: map[string]string{"TAPWATCH_CHECK_CONFIG": file}, stdout: "site: file\n"},
		{name: "flag before the file of the environment", args: []string{"print-config", "-c", "/does/not/exist"}, env: map[string]string{"TAPWATCH_CHECK_CONFIG": file}, code: 2,
			stderr: "tapwatch-check: error: config /does/not/exist: no such file or directory (check the path given by --config)\n"},
		{name: "own command", args: []string{"extra", "a", "--site=s"}, stdout: "extra a s\n"},
		{name: "version", args: []string{"version"}, stdout: "tapwatch-check "},
		{name: "help", args: []string{"--help"}, stdout: "name of this site"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			var stdout, stderr bytes.Buffer
			cmd := testService(work).Command()
			cmd.SetArgs(append([]string{}, tt.args...))
			cmd.SetOut(&stdout)
			cmd.SetErr(&stderr)
			if got := run(t.Context(), cmd); got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			if stderr.String() != tt.stderr || !strings.Contains(stdout.String(), tt.stdout) {
				t.Errorf("(-got +want)\n- %q %q\n+ %q %q", &stderr, &stdout, tt.stderr, tt.stdout)
			}
			if strings.Contains(stdout.String()+stderr.String(), "CANARY") {
				t.Error("the secret was printed")
			}
		})
	}
}

func TestCancelledIsSuccess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := testService(func(ctx context.Context, _ testConfig) error {
		cancel()
		<-ctx.Done()
		return fmt.Errorf("consume: %w", ctx.Err())
	}).Command()
	cmd.SetArgs([]string{})
	var stderr bytes.Buffer
	cmd.SetErr(&stderr)
	if got := run(ctx, cmd); got != 0 || stderr.Len() != 0 {
		t.Errorf("exit code %d, %q; want a silent 0", got, &stderr)
	}
}

// TestMain turns this binary into a service when a test starts it as one.
func TestMain(m *testing.M) {
	if os.Getenv("SERVICE_UNDER_TEST") == "1" {
		os.Args = os.Args[:1]
		os.Exit(Main(testService(func(ctx context.Context, _ testConfig) error {
			fmt.Println("running")
			<-ctx.Done()
			fmt.Println("draining")
			if os.Getenv("SERVICE_HANGS") == "1" {
				select {}
			}
			return ctx.Err()
		}).Command()))
	}
	os.Exit(m.Run())
}

func TestSignals(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "SERVICE_UNDER_TEST=1")
		cmd.Stderr = os.Stderr
		if hangs {
			cmd.Env = append(cmd.Env, "SERVICE_HANGS=1")
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		expect := func(want string) {
			t.Helper()
			line := make([]byte, len(want)+1)
			if n, err := out.Read(line); err != nil || string(line[:n]) != want+"\n" {
				t.Fatalf("read %q, %v; want %q", line[:n], err, want)
			}
		}
		expect("running")
		_ = cmd.Process.Signal(syscall.SIGTERM)
		expect("draining")
		if !hangs {
			if err := cmd.Wait(); err != nil {
				t.Errorf("after one signal: %v, want exit code 0", err)
			}
			continue
		}
		// The second signal may come before the first has been put back to its default effect: repeat until it is over.
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		for ended := false; !ended; {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-done:
				ended = true
			case <-time.After(10 * time.Millisecond): // signals without a pause can meet in the runtime while it dies
			}
		}
		if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGTERM {
			t.Errorf("after two signals: %v, want death by the second", cmd.ProcessState)
		}
	}
}

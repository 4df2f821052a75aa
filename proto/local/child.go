package local

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A program that starts a child executes itself again with one of these set.
const (
	envClickHouseChild = "TAPWATCH_CLICKHOUSE_CHILD"
	envKafkaChild      = "TAPWATCH_KAFKA_CHILD"
)

// argsMark separates the words that select the child (KafkaConfig.Exec,
// ClickHouseConfig.Exec) from those meant for it.
const argsMark = "--"

// graceAfterParent is how long the ClickHouse child outlives its parent, to
// finish what it is writing.
const graceAfterParent = time.Second

// RunChildIfAsked turns this process into the Kafka or ClickHouse child if its
// parent asked for one through the environment; then it does not return, but
// exits with 0 or 1. Otherwise it does nothing. Call it first in main or in
// TestMain of whatever calls StartClickHouse or StartKafkaProcess: without it
// the child would run the program once more.
func RunChildIfAsked() {
	var run func([]string) error
	switch {
	case os.Getenv(envClickHouseChild) == "1":
		run = ClickHouseChild
	case os.Getenv(envKafkaChild) == "1":
		run = KafkaChild
	default:
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// refuseInChild guards against a program that forgot RunChildIfAsked and would
// otherwise start children of children without end.
func refuseInChild() error {
	if os.Getenv(envClickHouseChild) == "1" || os.Getenv(envKafkaChild) == "1" {
		return fmt.Errorf("start server in a child process: local.RunChildIfAsked is not the first call of main or TestMain")
	}
	return nil
}

// childArgs returns what follows the mark.
func childArgs(args []string) []string {
	if i := slices.Index(args, argsMark); i >= 0 {
		return args[i+1:]
	}
	return args
}

// childCommand is the command that executes this program again.
func childCommand(words []string) ([]string, error) {
	if len(words) > 0 {
		return slices.Clone(words), nil
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	return []string{exe}, nil
}

// childEnv is the environment for a child: ours, with the child marks replaced.
func childEnv(set ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return name == envClickHouseChild || name == envKafkaChild || name == envLibrary
	})
	return append(env, set...)
}

// dieWithParent ends this process when the parent's end of the pipe f is
// closed, which the kernel does for every way a parent can die.
func dieWithParent(f *os.File) {
	var b [1]byte
	for {
		if n, err := f.Read(b[:]); n == 0 && err != nil {
			break
		}
	}
	time.Sleep(graceAfterParent)
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

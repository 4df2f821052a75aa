// Package localtest gives tests the real Kafka and ClickHouse of package local:
// one of each per test binary, started when the first test asks. In comes a
// testing.TB; out comes a running server that belongs to the binary, not to
// the test. A test makes its own database and its own topics, with names of
// its own, and leaves the server running.
//
// A test binary that uses it has
//
//	func TestMain(m *testing.M) { localtest.Main(m) }
package localtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tapwatch/tapwatch/proto/local"
)

// dirPrefix begins the name of every state directory; the process id follows.
const dirPrefix = "tapwatch-test-"

// shared is what this test binary has started. It is the one package variable
// here: tests of a binary have nothing else in common that could hold it.
var shared struct {
	mu         sync.Mutex
	dir        string
	kafka      *local.Kafka
	clickhouse *local.ClickHouse
	// The error of the first start, so that a machine without ClickHouse says
	// so once per test and not after a wait per test.
	kafkaErr, clickhouseErr error
}

// Main runs the tests of a binary, ends what they started, removes its state
// and exits. It is also where the child processes of this binary begin.
func Main(m *testing.M) {
	local.RunChildIfAsked()
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// TestClickHouse returns the ClickHouse of this test binary. Without a
// ClickHouse on this machine the test is skipped, or fails where CI=true.
func TestClickHouse(t testing.TB) *local.ClickHouse {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.clickhouse == nil && shared.clickhouseErr == nil {
		dir, err := stateDir()
		if err == nil {
			shared.clickhouse, err = local.StartClickHouse(context.Background(), local.ClickHouseConfig{
				Dir:       filepath.Join(dir, "clickhouse"),
				MaxMemory: 3 << 30,
				KeepFree:  128 << 20,
			}, nil)
		}
		shared.clickhouseErr = err
	}
	if err := shared.clickhouseErr; err != nil {
		if errors.Is(err, local.ErrNoClickHouse) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	return shared.clickhouse
}

// TestKafka returns the Kafka of this test binary, without any topic.
func TestKafka(t testing.TB) *local.Kafka {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.kafka == nil && shared.kafkaErr == nil {
		dir, err := stateDir()
		if err == nil {
			shared.kafka, err = local.StartKafka(context.Background(), local.KafkaConfig{Dir: filepath.Join(dir, "kafka")}, nil)
		}
		shared.kafkaErr = err
	}
	if shared.kafkaErr != nil {
		t.Fatal(shared.kafkaErr)
	}
	return shared.kafka
}

// stateDir is this binary's directory; shared.mu is held.
func stateDir() (string, error) {
	if shared.dir != "" {
		return shared.dir, nil
	}
	removeStale(os.TempDir())
	dir, err := os.MkdirTemp("", dirPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", fmt.Errorf("make state directory for tests: %w", err)
	}
	shared.dir = dir
	return dir, nil
}

// removeStale removes what binaries left behind that were killed: a test that
// times out does not reach the end of Main.
func removeStale(tmp string) {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), dirPrefix)
		text, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(text)
		if !ours || err != nil || pid <= 0 || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		os.RemoveAll(filepath.Join(tmp, e.Name()))
	}
}

// stop ends the servers and removes their state.
func stop() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var errs []error
	if shared.kafka != nil {
		errs = append(errs, shared.kafka.Close())
	}
	if shared.clickhouse != nil {
		errs = append(errs, shared.clickhouse.Close())
	}
	if shared.dir != "" {
		errs = append(errs, os.RemoveAll(shared.dir))
	}
	return errors.Join(errs...)
}

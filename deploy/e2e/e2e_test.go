// Package e2e proves the whole chain on real input: captures through probe,
// Kafka, collector and ClickHouse, and through the binaries that users run.
// It has no code of its own. chaos/ is the same chain under faults, mutants/ the
// proof that the tests notice when the code is wrong.
package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) {
	localtest.Main(m)
}

// full says that the long forms of the tests are wanted.
func full() bool { return os.Getenv("TAPWATCH_E2E") == "full" }

// captures is the directory of shared captures, beside the project.
func captures(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../../shared/captures")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "captures.tsv")); err != nil {
		t.Skip("the shared captures are not beside the project (../shared/captures)")
	}
	return dir
}

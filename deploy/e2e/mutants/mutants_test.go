// Package mutants proves that the contract's tests can fail: it breaks the code
// in one place at a time and runs the test that has to notice. The broken source
// is laid over the real one by the Go tool (-overlay), so nothing in the project
// can be switched to it.
package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local"
)

// mutant is a fault in the code, and who finds it.
type mutant struct {
	name     string
	file     string // from the top of the project
	old, new string // old must be there just once
	pkg      string // of the test, from the top
	test     string // regular expression, as for go test -run
	quick    bool   // in the short form too: without a server
}

var mutants = []mutant{
	{name: "produce without acknowledgement", file: "proto/spool/producer.go",
		old: "RequiredAcks: kafka.RequireAll", new: "RequiredAcks: kafka.RequireNone", pkg: "proto/spool", test: "TestErrorsOfTheBroker|TestBrokerRestarts"},
	{name: "payloads are not checked", file: "proto/spool/encrypt.go",
		old: "if crc32.Checksum(payload, castagnoli) != h.payloadCRC {", new: "if false && crc32.Checksum(payload, castagnoli) != h.payloadCRC {", pkg: "proto/spool", test: "TestDamage"},
	{name: "commit before the block is written", file: "collector/consume/machine.go",
		old: "	return Position{m.from, said.String()}", new: "	if m.step != Gather {\n\t\treturn Position{Offset: m.to}\n\t}\n\treturn Position{m.from, said.String()}",
		pkg: "collector/consume", test: "TestEveryCrash$", quick: true},
	{name: "promises are not kept", file: "collector/consume/machine.go",
		old: "m.to, m.repeated = said.to, true", new: "m.repeated = true", pkg: "collector/consume", test: "TestEveryCrash$", quick: true},
	{name: "nothing is suspect", file: "collector/consume/machine.go",
		old: "return m.from < m.before }", new: "return false }", pkg: "collector/consume", test: "TestEveryCrash$", quick: true},
	{name: "a repeated block is taken for a new one", file: "collector/consume/machine.go",
		old: "m.to, m.repeated = said.to, true", new: "m.to = said.to", pkg: "collector/consume", test: "TestEveryCrash$"},
	{name: "the end is never said", file: "collector/consume/machine.go",
		old: "m.repeated, m.unsaid = false, true", new: "m.repeated = false", pkg: "collector/consume", test: "TestEveryCrash$"},
	{name: "suspicion is not handed on", file: "collector/consume/machine.go",
		old: "said := promise{to: -1, before: m.before,", new: "said := promise{to: -1,", pkg: "collector/consume", test: "TestEveryCrash$|TestCrashes"},
	{name: "owners do not confirm before they write", file: "collector/consume/partition.go",
		old: "	b.Confirm = p.confirm\n", new: "", pkg: "collector", test: "TestLateOwner"},
	{name: "dropped inserts are believed", file: "collector/store/verify.go",
		old: "if !doubt && !o.dropped {", new: "if true {", pkg: "collector/store", test: "TestPoisonedToken"},
	{name: "a fresh token for each attempt", file: "collector/store/verify.go",
		old: "		token := base\n", new: "		token := base + strconv.Itoa(attempt)\n", pkg: "collector/store", test: "TestLateAttempt"},
	{name: "count first, then a fresh token", file: "collector/store/verify.go",
		old: "		if poisoned > 0 {\n", new: "		if attempt > 1 {\n			token += strconv.Itoa(attempt)\n		}\n		if poisoned > 0 {\n",
		pkg: "collector/store", test: "TestLateAttempt"},
	{name: "what is there is not looked for", file: "collector/store/verify.go",
		old: "		if doubt {\n", new: "		if false {\n", pkg: "collector/store", test: "TestLostDeduplicationLog"},
	{name: "content is not compared", file: "collector/store/presence.go",
		old: "	case got == want:", new: "	case got.rows == want.rows:", pkg: "collector/store", test: "TestAlarm"},
	{name: "batches before rows", file: "collector/store/store.go",
		old: "	if err := s.putDays(ctx, b, messages); err != nil {\n		return err\n	}\n	if err := s.tell(ctx, b, messages); err != nil {\n		return err\n	}\n",
		new: "	if err := s.tell(ctx, b, messages); err != nil {\n		return err\n	}\n	if err := s.putDays(ctx, b, messages); err != nil {\n		return err\n	}\n",
		pkg: "collector/store", test: "TestNotConfirmed"},
	{name: "batches are not written", file: "collector/store/store.go",
		old: "	if err := s.tell(ctx, b, messages); err != nil {", new: "	if err := ctx.Err(); err != nil {", pkg: "collector/store", test: "TestPutAgain"},
	{name: "twins are not settled", file: "collector/store/store.go",
		old: "	if err := s.settleTwins(ctx, b, messages); err != nil {", new: "	if err := ctx.Err(); err != nil {", pkg: "collector/store", test: "TestTwinsAtOnce"},
	{name: "the copy that stays is any", file: "collector/store/twins.go",
		old: "if keep.partition < 0 || at.before(keep) {", new: "if at.partition == int32(b.Partition) {", pkg: "collector/store", test: "TestTwins"},
	{name: "the disk may fill up", file: "collector/store/guard.go",
		old: "	if free < reserve {", new: "	if false {", pkg: "collector/store", test: "TestReserve"},
	{name: "inserts in pieces", file: "collector/store/insert.go",
		old: `"min_insert_block_size_rows":      100_000_000,`, new: `"min_insert_block_size_rows": 1000, "max_insert_block_size_rows": 1000, "use_strict_insert_block_limits": 1,`,
		pkg: "collector/store", test: "TestOneInsertIsOnePart"},
	{name: "dead letters are not produced", file: "collector/consume/partition.go",
		old: "		err := deadLetter(try, p.dead, r.Message, r.why)\n", new: "		err := try.Err()\n", pkg: "collector", test: "TestPoison"},
}

func TestMutants(t *testing.T) {
	top, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	full := os.Getenv("TAPWATCH_E2E") == "full"
	caught, table := 0, &strings.Builder{}
	for _, m := range mutants {
		if !full && !m.quick {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			if !m.quick {
				if _, _, err := local.FindClickHouse(); err != nil {
					t.Skip(err)
				}
			}
			began := time.Now()
			who := m.run(t, top)
			if who == "" {
				return
			}
			caught++
			fmt.Fprintf(table, "%-44s %-32s %6s\n", m.name, who, time.Since(began).Round(100*time.Millisecond))
		})
	}
	t.Logf("%d mutants caught\n%s", caught, table)
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^panic: `)

// run returns the test that failed.
func (m mutant) run(t *testing.T, top string) string {
	t.Helper()
	path := filepath.Join(top, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		t.Fatalf("%s has %d times what is to be broken: the code has moved on, and so must this mutant:\n%s", m.file, n, m.old)
	}
	dir := t.TempDir()
	broken, overlay := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(broken, bytes.Replace(source, []byte(m.old), []byte(m.new), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	module, pkg, _ := strings.Cut(m.pkg, "/")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-timeout=4m", "-overlay="+overlay, "-run", m.test, "./"+pkg)
	cmd.Dir = filepath.Join(top, module)
	// What is broken has to be found by the short form.
	cmd.Env = append(os.Environ(), "TAPWATCH_E2E=")
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch found := failed.FindSubmatch(out); {
	case err == nil:
		t.Errorf("nobody notices that %s:\n%s", m.name, out)
	case bytes.Contains(out, []byte("panic: test timed out")):
		t.Errorf("%s has not come to an end: that is no verdict", m.test)
	case !errors.As(err, &exit) || found == nil:
		t.Errorf("%v, and no test has failed:\n%s", err, out[:min(len(out), 3000)])
	case len(found[1]) == 0:
		return "(panics)"
	default:
		return string(found[1])
	}
	return ""
}

//go:build unix

package service

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lockedBuffer may be written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestReload: SIGHUP reads the file again; one that is wrong changes nothing.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("site: one\n")
	var stderr lockedBuffer
	hangUp := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	s := testService(nil)
	s.RunReloading = func(ctx context.Context, cfg testConfig, reloads <-chan testConfig) error {
		take := func() testConfig {
			select {
			case c := <-reloads:
				return c
			case <-time.After(5 * time.Second):
				t.Error("no configuration came")
				return testConfig{}
			}
		}
		if cfg.Site != "one" {
			t.Errorf("begins with %q", cfg.Site)
		}
		write("site: two\n")
		hangUp()
		if c := take(); c.Site != "two" || c.Workers != 3 {
			t.Errorf("reloaded %+v", c)
		}
		write("sitte: three\n")
		hangUp()
		for end := time.Now().Add(5 * time.Second); !strings.Contains(stderr.String(), "\n") && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		write("site: four\n")
		hangUp()
		if c := take(); c.Site != "four" {
			t.Errorf("reloaded %+v", c)
		}
		return nil
	}
	cmd := s.Command()
	cmd.SetArgs([]string{"-c", file, "--workers=3"})
	cmd.SetErr(&stderr)
	if code := run(t.Context(), cmd); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "error: reload: config "+file) || !strings.Contains(got, "did you mean site?") ||
		!strings.HasSuffix(got, "; going on as before\n") {
		t.Errorf("said %q", got)
	}
}

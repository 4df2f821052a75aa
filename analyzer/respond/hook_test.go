package respond

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A program that does not end is ended with its children, and what it says is
// bounded.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "slow")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x\n/bin/sleep 300 &\n/bin/sleep 300\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	begun := time.Now()
	said, err := run(ctx, []string{path})
	if err == nil || !strings.Contains(err.Error(), "in time") {
		t.Errorf("it ended: %v", err)
	}
	if took := time.Since(begun); took > 60*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(said) > maxOutput {
		t.Errorf("%d octets of output", len(said))
	}
}

func TestCheck(t *testing.T) {
	path, _ := program(t)
	dir := filepath.Dir(path)
	loose, plain := filepath.Join(dir, "loose"), filepath.Join(dir, "plain")
	for name, mode := range map[string]os.FileMode{loose: 0o722, plain: 0o600} {
		if err := os.WriteFile(name, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil { // whatever the umask says
			t.Fatal(err)
		}
	}
	if err := withProgram(path).Check(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(c *Config)
		want   string
	}{
		{"not in the list", func(c *Config) { c.Executables = nil }, "not in respond.executables"},
		{"relative", func(c *Config) { c.Hooks[0].Command[0] = "hook"; c.Executables = []string{"hook"} }, "absolute"},
		{"dots", func(c *Config) {
			c.Hooks[0].Command[0] = "/bin/../" + path
			c.Executables = []string{"/bin/../" + path}
		}, "absolute"},
		{"writable", func(c *Config) { c.Hooks[0].Command[0] = loose; c.Executables = append(c.Executables, loose) }, "may write"},
		{"no program", func(c *Config) { c.Hooks[0].Undo[0] = plain; c.Executables = append(c.Executables, plain) }, "not a program"},
		{"a directory", func(c *Config) { c.Hooks[0].Undo[0] = dir; c.Executables = append(c.Executables, dir) }, "not a program"},
		{"no undo", func(c *Config) { c.Hooks[0].Undo = nil }, "undo: missing"},
		{"a kind", func(c *Config) { c.Hooks[0].Kind = "delete" }, "unknown"},
		{"names", func(c *Config) { c.Hooks[1].Name = c.Hooks[0].Name }, "taken"},
		{"host", func(c *Config) {
			c.Hooks[0].Command, c.Hooks[0].Undo, c.Hooks[0].URL = nil, nil, "https://fw.example/x"
		}, "respond.hosts"},
		{"both", func(c *Config) { c.Hooks[0].URL = "https://fw.example/x" }, "either"},
		{"rule without detectors", func(c *Config) { c.Rules = []Rule{{Name: "r", Kind: Block}} }, "detectors"},
		{"rule of a missing hook", func(c *Config) { c.Rules = []Rule{{Name: "r", Kind: Block, Hook: "x", Detectors: []string{"a"}}} }, "no hook x"},
		{"rule for long", func(c *Config) {
			c.Rules = []Rule{{Name: "r", Kind: Block, For: 48 * time.Hour, Detectors: []string{"a"}}}
		}, "max_for"},
		{"for", func(c *Config) { c.For = 48 * time.Hour }, "max_for"},
		{"per hour", func(c *Config) { c.MaxPerHour = 0 }, "max_per_hour"},
		{"bits", func(c *Config) { c.MinBits4 = 0 }, "min_bits"},
	} {
		c := withProgram(path)
		tt.change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "::ffff:10.0.0.1", "10.0.0.0/24", "::ffff:10.0.0.0/120", "fe80::1%a", "-x", "2a00::/48", "$(x)"} {
		f.Add(Block, s)
	}
	f.Fuzz(func(t *testing.T, kind, s string) {
		p, err := parseTarget(kind, s)
		if err != nil {
			return
		}
		out := text(p)
		if strings.Trim(out, "0123456789abcdef.:/") != "" || out == "" || out[0] == '-' || p != p.Masked() || p.Addr().Is4In6() && p.Bits() >= 96 {
			t.Errorf("%q is written %q", s, out)
		}
		if again, err := parseTarget(Block, out); err != nil || again != p {
			t.Errorf("%q is read as %v, then %v: %v", s, p, again, err)
		}
	})
}

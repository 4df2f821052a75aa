package local

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindClickHouse(t *testing.T) {
	root := t.TempDir()
	file := func(parts ...string) string {
		p := filepath.Join(append([]string{root}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o700); err != nil {
			t.Fatal(err)
		}
		return p
	}
	modules := file("repo", "deploy", "tapwatch", "node_modules", "@chdb", libraryPackage(), libraryName)
	beside := file("beside", libraryName)
	other := file("other.so")
	onPath := map[string]string{"clickhouse": "/opt/bin/clickhouse"}
	none := filepath.Join(root, "empty", "program")
	for name, tc := range map[string]struct {
		env             map[string]string
		path            map[string]string
		cwd, exe        string
		binary, library string
		err             string
	}{
		"binary from the environment":  {env: map[string]string{envBinary: "/x/clickhouse"}, path: map[string]string{"/x/clickhouse": "/x/clickhouse", "clickhouse": "/opt"}, exe: none, binary: "/x/clickhouse"},
		"wrong binary":                 {env: map[string]string{envBinary: "/x/clickhouse"}, path: onPath, exe: none, err: envBinary},
		"binary on PATH":               {env: map[string]string{envLibrary: other}, path: onPath, exe: none, binary: "/opt/bin/clickhouse"},
		"library from the environment": {env: map[string]string{envLibrary: other}, exe: filepath.Join(root, "beside", "x"), library: other},
		"wrong library":                {env: map[string]string{envLibrary: other + "x"}, exe: filepath.Join(root, "beside", "x"), err: envLibrary},
		"beside the executable":        {cwd: filepath.Join(root, "repo"), exe: filepath.Join(root, "beside", "x"), library: beside},
		"above the working directory":  {cwd: filepath.Join(root, "repo", "collector", "store"), exe: none, library: modules},
		"above the executable":         {cwd: root, exe: filepath.Join(root, "repo", "bin", "tapwatch"), library: modules},
		"nothing":                      {cwd: root, exe: none, err: "npm ci --prefix deploy/tapwatch"},
	} {
		t.Run(name, func(t *testing.T) {
			look := func(p string) (string, error) {
				if found, ok := tc.path[p]; ok {
					return found, nil
				}
				return "", &exec.Error{Name: p, Err: exec.ErrNotFound}
			}
			binary, library, err := findClickHouse(func(k string) string { return tc.env[k] }, look, tc.cwd, tc.exe)
			if binary != tc.binary || library != tc.library {
				t.Errorf("(-got +want)\n-%q %q\n+%q %q", binary, library, tc.binary, tc.library)
			}
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error: got %v, want %q", err, tc.err)
			}
			if name == "nothing" && !errors.Is(err, ErrNoClickHouse) {
				t.Errorf("error: got %v, want ErrNoClickHouse", err)
			}
		})
	}
}

func TestUsersRefused(t *testing.T) {
	for name, users := range map[string][]ClickHouseUser{
		"empty name":  {{}},
		"not a name":  {{Name: "a><b"}},
		"digit first": {{Name: "1a"}},
		"twice":       {{Name: "a"}, {Name: "a"}},
		"default":     {{Name: "default"}},
	} {
		if _, err := usersXML(users); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

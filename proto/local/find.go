package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Environment variables that say where ClickHouse is; both hold a path.
const (
	envBinary  = "TAPWATCH_CLICKHOUSE"
	envLibrary = "TAPWATCH_LIBCHDB"
)

// libraryName is the file name of the ClickHouse library in its npm packages.
const libraryName = "libchdb.so"

// FindClickHouse looks for something to run ClickHouse with and returns the
// path of either a clickhouse binary or of libchdb.so; the other is empty. It
// looks at TAPWATCH_CLICKHOUSE, at PATH, at TAPWATCH_LIBCHDB, beside the
// executable, and in the node_modules of deploy/tapwatch of every directory
// above the working directory and above the executable. A variable that is set
// but names no file is an error, not a reason to look on. If nothing is found
// the error wraps ErrNoClickHouse and says how to install it.
func FindClickHouse() (binary, library string, err error) {
	exe, err := os.Executable()
	if err != nil {
		exe = ""
	}
	cwd, err := os.Getwd()
	if err != nil {
		cwd = ""
	}
	return findClickHouse(os.Getenv, exec.LookPath, cwd, exe)
}

func findClickHouse(getenv func(string) string, lookPath func(string) (string, error), cwd, exe string) (binary, library string, err error) {
	if p := getenv(envBinary); p != "" {
		if binary, err = lookPath(p); err != nil {
			return "", "", fmt.Errorf("find clickhouse: %s=%s: %w", envBinary, p, err)
		}
		return binary, "", nil
	}
	// An executable found through a relative PATH entry is refused by os/exec
	// with ErrDot: rightly so, look on.
	if binary, err = lookPath("clickhouse"); err == nil {
		return binary, "", nil
	} else if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, exec.ErrDot) {
		return "", "", fmt.Errorf("find clickhouse on PATH: %w", err)
	}
	if p := getenv(envLibrary); p != "" {
		if !isFile(p) {
			return "", "", fmt.Errorf("find clickhouse: %s=%s: no such file", envLibrary, p)
		}
		return "", p, nil
	}
	var dirs []string
	if exe != "" {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dirs = append(dirs, filepath.Dir(exe))
	}
	for _, dir := range dirs {
		if p := filepath.Join(dir, libraryName); isFile(p) {
			return "", p, nil
		}
	}
	pkg := libraryPackage()
	for _, start := range append([]string{cwd}, dirs...) {
		for dir := start; dir != ""; {
			p := filepath.Join(dir, "deploy", "tapwatch", "node_modules", "@chdb", pkg, libraryName)
			if isFile(p) {
				return "", p, nil
			}
			up := filepath.Dir(dir)
			if up == dir {
				break
			}
			dir = up
		}
	}
	return "", "", fmt.Errorf("%w: install the library with `npm ci --prefix deploy/tapwatch`, or set %s to libchdb.so or %s to a clickhouse binary", ErrNoClickHouse, envLibrary, envBinary)
}

// libraryPackage is the name of the npm package that holds the library for
// this machine, as its publisher names them.
func libraryPackage() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	libc := ""
	if runtime.GOOS == "linux" {
		libc = "-gnu"
	}
	return "lib-" + runtime.GOOS + "-" + arch + libc
}

func isFile(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular()
}

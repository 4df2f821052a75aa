package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// lockState makes the state directory and keeps a second instance out of it.
func lockState(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, kit.Hint(fmt.Errorf("make state directory: %w", err), "choose another with --state")
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, kit.Hint(fmt.Errorf("lock state directory: %w", err), "choose another with --state")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, kit.Hint(fmt.Errorf("state directory %s is in use by another tapwatch", dir), "stop it, or choose another with --state")
	}
	return func() { f.Close() }, nil
}
